#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "files.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

int clinux_open_beneath(int folder, const char *path, int flags, unsigned int mode) {
  struct open_how how;
  memset(&how, 0, sizeof how);
  how.flags = (unsigned int)flags | O_CLOEXEC;
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd;
  do {
    fd = syscall(SYS_openat2, folder, path, &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return (int)fd;
}

int clinux_openat(int folder, const char *path, int flags, unsigned int mode) {
  int fd;
  do {
    fd = openat(folder, path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

static void fill(const struct stat *from, struct clinux_status *out) {
  out->device = from->st_dev;
  out->inode = from->st_ino;
  out->size = from->st_size;
  out->allocated = (int64_t)from->st_blocks * 512;
  out->modified = (int64_t)from->st_mtim.tv_sec * 1000000000 + from->st_mtim.tv_nsec;
  out->changed = (int64_t)from->st_ctim.tv_sec * 1000000000 + from->st_ctim.tv_nsec;
  out->mode = from->st_mode;
  out->links = (uint32_t)from->st_nlink;
  out->owner = from->st_uid;
}

int clinux_fstat(int fd, struct clinux_status *out) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -1;
  fill(&status, out);
  return 0;
}

int clinux_fstatat(int folder, const char *path, struct clinux_status *out) {
  struct stat status;
  if (fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) != 0) return -1;
  fill(&status, out);
  return 0;
}

int clinux_rename_new(int from, const char *name, int to, const char *target) {
  return renameat2(from, name, to, target, RENAME_NOREPLACE);
}

int clinux_clone_range(int target, int64_t target_offset, int source, int64_t source_offset, int64_t length) {
  struct file_clone_range range = {
      .src_fd = source,
      .src_offset = (uint64_t)source_offset,
      .src_length = (uint64_t)length,
      .dest_offset = (uint64_t)target_offset,
  };
  return ioctl(target, FICLONERANGE, &range);
}

int64_t clinux_copy_range(int target, int64_t target_offset, int source, int64_t source_offset, int64_t length) {
  off64_t in = source_offset, out = target_offset;
  int64_t done;
  do {
    done = copy_file_range(source, &in, target, &out, (size_t)length, 0);
  } while (done < 0 && errno == EINTR);
  return done;
}

int64_t clinux_seek_data(int fd, int64_t offset) { return lseek(fd, offset, SEEK_DATA); }
int64_t clinux_seek_hole(int fd, int64_t offset) { return lseek(fd, offset, SEEK_HOLE); }

int clinux_flock(int fd, int kind, int wait) {
  int operation = kind == 0 ? LOCK_UN : kind == 1 ? LOCK_SH : LOCK_EX;
  int result;
  do {
    result = flock(fd, wait ? operation : operation | LOCK_NB);
  } while (result < 0 && errno == EINTR);
  return result;
}

int clinux_syncfs(int fd) { return syncfs(fd); }

int clinux_touch(int fd, int64_t nanoseconds) {
  if (nanoseconds < 0) return futimens(fd, NULL);
  struct timespec times[2];
  times[0].tv_sec = times[1].tv_sec = nanoseconds / 1000000000;
  times[0].tv_nsec = times[1].tv_nsec = nanoseconds % 1000000000;
  return futimens(fd, times);
}

int clinux_open_direct(int folder, const char *path) { return clinux_open_beneath(folder, path, O_WRONLY | O_DIRECT, 0); }

int clinux_allocate(int fd, int64_t offset, int64_t length) {
  int result;
  do {
    result = fallocate(fd, 0, offset, length);
  } while (result < 0 && errno == EINTR);
  return result;
}

int clinux_forget(int fd, int64_t offset, int64_t length) {
  return posix_fadvise(fd, offset, length, POSIX_FADV_DONTNEED);
}

int clinux_start_writeback(int fd, int64_t offset, int64_t length) {
  return sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

static const char opaque[] = "user.overlay.opaque";

int clinux_make_whiteout(int folder, const char *name) { return mknodat(folder, name, S_IFCHR, makedev(0, 0)); }

int clinux_make_opaque(int folder) { return fsetxattr(folder, opaque, "y", 1, 0); }

int clinux_is_opaque(int folder) {
  char value = 0;
  return fgetxattr(folder, opaque, &value, 1) == 1 && value == 'y';
}
