/* Prints how many nanoseconds dlopen of its argument takes, with all symbols bound. */
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv) {
    struct timespec begun, ended;
    void *library;
    (void)argc;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    if (library == NULL) return 1;
    printf("%ld\n", (ended.tv_sec - begun.tv_sec) * 1000000000L + ended.tv_nsec - begun.tv_nsec);
    return 0;
}
