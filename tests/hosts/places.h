/*
 * Hosts in odd places: what new files look like, and where names begin.
 */
#ifndef PLACES_H
#define PLACES_H

#include "guest.h"

#include <ftw.h>
#include <sched.h>
#include <sys/mount.h>

static void no_umask(void) {
    umask(0777);
}

static int files;

static int has_its_mode(const char *path, const struct stat *stat, int kind, struct FTW *unused) {
    (void)unused;
    files += kind == FTW_F;
    expect((stat->st_mode & 07777) == (kind == FTW_F ? 0600 : 0700), "%s: mode %o", path, stat->st_mode & 07777);
    return 0;
}

static void modes(void) {
    make_netns("pod");
    succeeds("set-up", cni_setup_pod, request("pod", ""), "10.77.0.");
    nftw(in_node("cache"), has_its_mode, 8, FTW_PHYS);
    expect(files > 1, "%d files", files);
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "eth0");
    remove_netns("pod");
}

static void no_cwd(void) {
    const char *gone = in_node("gone");
    expect(mkdir(gone, 0700) == 0 && chdir(gone) == 0 && rmdir(gone) == 0, "a directory that is gone");
}

/* Binds what is at a path to the same path below the root that is to be, or to another one. */
static void bind_below(const char *root, const char *what, const char *to) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, to);
    expect(mkdir(path, 0755) == 0 && mount(what, path, NULL, MS_BIND | MS_REC, NULL) == 0, "%s: %m", path);
}

/* Real plugins are where they are found within the root only, and the node is at /node. */
static void chrooted(void) {
    static const char *const links[] = {"bin", "sbin", "lib", "lib64"};
    static const char *const whole[] = {"/usr", "/proc", "/dev", "/etc"};
    const char *plugins = access("/opt/cni/bin/bridge", X_OK) == 0 ? "/opt/cni/bin" : "/usr/lib/cni";
    const char *root = in_node("root");
    char path[512], target[64];
    size_t index;
    expect(mkdir(root, 0755) == 0, "a root");
    for (index = 0; index < sizeof whole / sizeof *whole; ++index) bind_below(root, whole[index], whole[index]);
    for (index = 0; index < sizeof links / sizeof *links; ++index) {
        snprintf(path, sizeof path, "%s/%s", root, links[index]);
        snprintf(target, sizeof target, "usr/%s", links[index]);
        expect(symlink(target, path) == 0, "%s: %m", path);
    }
    snprintf(path, sizeof path, "%s/opt", root);
    expect(mkdir(path, 0755) == 0, "%s: %m", path);
    snprintf(path, sizeof path, "%s/opt/cni", root);
    expect(mkdir(path, 0755) == 0, "%s: %m", path);
    bind_below(root, plugins, "/opt/cni/bin");
    snprintf(path, sizeof path, "%s/usr/lib/cni", root);
    expect(access(path, F_OK) != 0 || mount("none", path, "tmpfs", 0, NULL) == 0, "%s: %m", path);
    snprintf(path, sizeof path, "%s/node", root);
    expect(mkdir(path, 0755) == 0 && mkdir(in_node("inside"), 0755) == 0, "%s: %m", path);
    expect(mount(in_node("inside"), path, NULL, MS_BIND, NULL) == 0, "%s: %m", path);
    expect(chroot(root) == 0 && chdir("/") == 0, "a changed root: %m");
    snprintf(node_dir, sizeof node_dir, "/node");
}

#endif
