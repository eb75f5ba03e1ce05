/*
 * The least that a CNI plugin does: reads its configuration to the end, and answers ADD with a small result, VERSION with what
 * it knows. Static, so that what is measured is not the dynamic linker.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char result[] =
    "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/run/netns/x\"}],"
    "\"ips\":[{\"interface\":0,\"address\":\"10.1.2.3/24\",\"gateway\":\"10.1.2.1\"}],\"dns\":{}}";

static const char versions[] = "{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}";

static int say(const char *text) { return write(1, text, strlen(text)) < 0; }

int main(void) {
    const char *command = getenv("CNI_COMMAND");
    char input[65536];
    while (read(0, input, sizeof input) > 0) continue;
    if (command != NULL && strcmp(command, "ADD") == 0) return say(result);
    if (command != NULL && strcmp(command, "VERSION") == 0) return say(versions);
    return 0;
}
