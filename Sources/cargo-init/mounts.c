// The steps that build the new root: sources are opened once as descriptors, while cargo-init still has its
// supervisor's user id, and everything later goes by descriptor, so no path is looked up twice.
#include "raw.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>

#ifndef MS_RDONLY
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_REC 16384
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define TREE_CLONE 1
#define MOVE_FROM_EMPTY 0x04
#define MOVE_TO_EMPTY 0x40
#define RESOLVE_WITHOUT_LINKS (0x02 | 0x04) /* no magic links, no symbolic links */
#define DETACH 2

enum { SLOTS = 512 };
static int slots[SLOTS];

static int slot_at(uint32_t index) { return index < SLOTS ? slots[index] : -1; }

// slot, path: a host path that becomes visible inside.
long step_open(struct reader *in) {
    uint32_t slot = read_number(in);
    const char *path = read_text(in);
    if (in->broken || slot >= SLOTS) return -EBADMSG;
    long fd = RAW(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, 0);
    if (fd < 0) return fd;
    slots[slot] = (int)fd;
    return 0;
}

// slot, index: a descriptor that the supervisor handed over; it holds a detached mount.
long step_inherit(struct reader *in) {
    uint32_t slot = read_number(in);
    uint32_t index = read_number(in);
    if (in->broken || slot >= SLOTS) return -EBADMSG;
    slots[slot] = FD_EXTRA + (int)index;
    return 0;
}

// slot, major, minor: /dev/null must be the null device before anything is masked with it.
long step_expect_device(struct reader *in) {
    int fd = slot_at(read_number(in));
    uint32_t major = read_number(in), minor = read_number(in);
    struct stat status;
    long failed = RAW(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH, 0);
    if (failed < 0) return failed;
    uint64_t device = status.st_rdev;
    uint32_t has_major = (uint32_t)((device >> 8) & 0xfff), has_minor = (uint32_t)((device & 0xff) | ((device >> 12) & 0xfff00));
    return S_ISCHR(status.st_mode) && has_major == major && has_minor == minor ? 0 : -ENODEV;
}

// source, target, type, flags, data: mount(2) as it is.
long step_mount(struct reader *in) {
    const char *source = read_text(in), *target = read_text(in), *type = read_text(in);
    uint32_t flags = read_number(in);
    const char *data = read_text(in);
    if (in->broken) return -EBADMSG;
    return RAW(SYS_mount, source, target, *type ? type : NULL, flags, *data ? data : NULL);
}

static char *write_text(char *at, const char *text) {
    while (*text) *at++ = *text++;
    return at;
}

static char *write_decimal(char *at, unsigned value) {
    char digits[10];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count) *at++ = digits[--count];
    return at;
}

static unsigned long classic_flags(uint64_t attributes) {
    unsigned long flags = 0;
    if (attributes & MOUNT_ATTR_RDONLY) flags |= MS_RDONLY;
    if (attributes & MOUNT_ATTR_NOSUID) flags |= MS_NOSUID;
    if (attributes & MOUNT_ATTR_NODEV) flags |= MS_NODEV;
    if (attributes & MOUNT_ATTR_NOEXEC) flags |= MS_NOEXEC;
    return flags;
}

static long bind_classic(int fd, const char *target, uint64_t attributes) {
    char source[32];
    *write_decimal(write_text(source, "/proc/self/fd/"), (unsigned)fd) = 0;
    long failed = RAW(SYS_mount, source, target, NULL, MS_BIND | MS_REC, NULL);
    if (failed < 0) return failed;
    return RAW(SYS_mount, NULL, target, NULL, MS_REMOUNT | MS_BIND | classic_flags(attributes), NULL);
}

struct how {
    uint64_t flags, mode, resolve;
};

// Attaches a mount at a target that is reached without following any link.
static long attach(int tree, const char *target) {
    struct how how = {O_PATH | O_CLOEXEC, 0, RESOLVE_WITHOUT_LINKS};
    long at = RAW(SYS_openat2, AT_FDCWD, target, &how, sizeof how, 0);
    if (at == -ENOSYS || at == -EPERM) return RAW(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_FROM_EMPTY);
    if (at < 0) return at;
    long result = RAW(SYS_move_mount, tree, "", at, "", MOVE_FROM_EMPTY | MOVE_TO_EMPTY);
    RAW(SYS_close, at, 0, 0, 0, 0);
    return result;
}

static long bind_descriptor(int fd, const char *target, uint64_t attributes) {
    long tree = RAW(SYS_open_tree, fd, "", AT_EMPTY_PATH | AT_RECURSIVE | TREE_CLONE | O_CLOEXEC, 0, 0);
    if (tree == -ENOSYS) return bind_classic(fd, target, attributes);
    if (tree < 0) return tree;
    struct {
        uint64_t set, clear, propagation, userns;
    } change = {attributes, 0, 0, 0};
    long result = RAW(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &change, sizeof change);
    if (result == -ENOSYS) {
        result = attach((int)tree, target);
        if (result >= 0)
            result = RAW(SYS_mount, NULL, target, NULL, MS_REMOUNT | MS_BIND | classic_flags(attributes), NULL);
    } else if (result >= 0) {
        result = attach((int)tree, target);
    }
    RAW(SYS_close, tree, 0, 0, 0, 0);
    return result;
}

// slot, target, attributes (MOUNT_ATTR_*), detached: with new attributes, submounts included.
long step_bind(struct reader *in) {
    int fd = slot_at(read_number(in));
    const char *target = read_text(in);
    uint32_t attributes = read_number(in);
    uint32_t detached = read_number(in);
    if (in->broken || fd < 0) return -EBADMSG;
    return detached ? attach(fd, target) : bind_descriptor(fd, target, attributes);
}

// target, a folder inside that lies above (or nothing), sources from the uppermost down: a read-only overlay.
long step_overlay(struct reader *in) {
    enum { LAYERS = 120, TEXT = 4096 };
    const char *target = read_text(in), *above = read_text(in);
    uint32_t layers = read_number(in);
    size_t length = 0;
    while (above[length]) length++;
    if (in->broken || layers > LAYERS || length > 256) return -EBADMSG;
    char options[TEXT];
    char *at = write_text(write_text(options, "userxattr,lowerdir="), above);
    for (uint32_t i = 0; i < layers; i++) {
        int fd = slot_at(read_number(in));
        if (fd < 0) return -EBADMSG;
        if (i > 0 || *above) *at++ = ':';
        at = write_decimal(write_text(at, "/proc/self/fd/"), (unsigned)fd);
    }
    *at = 0;
    if (in->broken) return -EBADMSG;
    return RAW(SYS_mount, "overlay", target, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options);
}

long step_directory(struct reader *in) {
    const char *path = read_text(in);
    uint32_t mode = read_number(in);
    if (in->broken) return -EBADMSG;
    long result = RAW(SYS_mkdirat, AT_FDCWD, path, mode, 0, 0);
    return result == -EEXIST ? 0 : result;
}

// path, mode, bytes: a small file of the new root, or an empty one to mount over.
long step_file(struct reader *in) {
    const char *path = read_text(in);
    uint32_t mode = read_number(in), left;
    const uint8_t *bytes = read_blob(in, &left);
    if (in->broken) return -EBADMSG;
    long fd = RAW(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode, 0);
    if (fd < 0) return fd;
    long result = 0;
    while (left) {
        result = RAW(SYS_write, fd, bytes, left, 0, 0);
        if (result < 0) break;
        bytes += result;
        left -= (uint32_t)result;
    }
    RAW(SYS_close, fd, 0, 0, 0, 0);
    return result < 0 ? result : 0;
}

long step_symlink(struct reader *in) {
    const char *target = read_text(in), *path = read_text(in);
    if (in->broken) return -EBADMSG;
    return RAW(SYS_symlinkat, target, AT_FDCWD, path, 0, 0);
}

long step_enter(struct reader *in) {
    const char *path = read_text(in);
    if (in->broken) return -EBADMSG;
    return RAW(SYS_chdir, path, 0, 0, 0, 0);
}

// The current folder becomes the root, and the old root, stacked on it, is detached.
long step_pivot(struct reader *in) {
    (void)in;
    long result = RAW(SYS_pivot_root, ".", ".", 0, 0, 0);
    if (result < 0) return result;
    result = RAW(SYS_umount2, ".", DETACH, 0, 0, 0);
    if (result < 0) return result;
    return RAW(SYS_chdir, "/", 0, 0, 0, 0);
}

// path, slot of /dev/null: what is not there needs no mask.
long step_mask(struct reader *in) {
    const char *path = read_text(in);
    int null = slot_at(read_number(in));
    if (in->broken || null < 0) return -EBADMSG;
    struct stat status;
    long result = RAW(SYS_newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW, 0);
    if (result == -ENOENT) return 0;
    if (result < 0) return result;
    if (S_ISDIR(status.st_mode))
        return RAW(SYS_mount, "tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2");
    return bind_descriptor(null, path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

// path, whole: a folder inside that stays visible but cannot be written; `whole` is 0 where it is a mount of its own already.
long step_read_only(struct reader *in) {
    const char *path = read_text(in);
    uint32_t own_mount = read_number(in);
    if (in->broken) return -EBADMSG;
    struct {
        uint64_t set, clear, propagation, userns;
    } change = {MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, 0, 0};
    if (own_mount) {
        long result = RAW(SYS_mount_setattr, AT_FDCWD, path, 0, &change, sizeof change);
        if (result != -ENOSYS) return result;
        return RAW(SYS_mount, NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL);
    }
    long fd = RAW(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC | O_NOFOLLOW, 0, 0);
    if (fd == -ENOENT) return 0;
    if (fd < 0) return fd;
    long result = bind_descriptor((int)fd, path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    RAW(SYS_close, fd, 0, 0, 0, 0);
    return result;
}
