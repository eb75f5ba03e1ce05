/*
 * What the C drivers have in common: a process that does what lines on its standard input say, and answers each with a line
 * of JSON:
 *
 *     add N THREADS    N calls in all by so many threads: {"ns": [each], "wall": ns, "cpu": ns with children}
 *     del N THREADS    the same; takes the oldest that were added
 *     fds N            has N descriptors open
 *     touch MIB        has written to so much memory
 *     memory           {"private": bytes of this process alone}
 */
#ifndef DRIVER_H
#define DRIVER_H

/* One call; `id` is the container's number. Anything but 0 ends the driver. */
typedef int operation(const char *command, long id);

/* Obeys until the end of its input. */
int drive(operation *operation);

#endif
