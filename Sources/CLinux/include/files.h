#ifndef CLINUX_FILES_H
#define CLINUX_FILES_H
#include <stdint.h>

// What of a file's metadata says whether it is still the file that was checked.
struct clinux_status {
  uint64_t device;
  uint64_t inode;
  int64_t size;
  int64_t allocated; // bytes that hold data on disk
  int64_t modified;  // nanoseconds since 1970
  int64_t changed;   // nanoseconds since 1970
  uint32_t mode;
  uint32_t links;
  uint32_t owner;
};

// openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, always close-on-exec.
int clinux_open_beneath(int folder, const char *path, int flags, unsigned int mode);
// openat(2), always close-on-exec.
int clinux_openat(int folder, const char *path, int flags, unsigned int mode);
// fstat of a descriptor, or fstatat without following a last symbolic link.
int clinux_fstat(int fd, struct clinux_status *out);
int clinux_fstatat(int folder, const char *path, struct clinux_status *out);
// renameat2(2) with RENAME_NOREPLACE.
int clinux_rename_new(int from, const char *name, int to, const char *target);
// ioctl FICLONERANGE: shares blocks, or fails without having copied anything.
int clinux_clone_range(int target, int64_t target_offset, int source, int64_t source_offset, int64_t length);
int64_t clinux_copy_range(int target, int64_t target_offset, int source, int64_t source_offset, int64_t length);
// lseek(2) SEEK_DATA and SEEK_HOLE.
int64_t clinux_seek_data(int fd, int64_t offset);
int64_t clinux_seek_hole(int fd, int64_t offset);
// A file opened for writing past the page cache (O_DIRECT), resolved as clinux_open_beneath does.
int clinux_open_direct(int folder, const char *path);
// fallocate(2): blocks for a range, which reads as zeros; the file grows where it must.
int clinux_allocate(int fd, int64_t offset, int64_t length);
// flock(2): kind is 1 shared, 2 exclusive, 0 unlock; wait 0 adds LOCK_NB.
int clinux_flock(int fd, int kind, int wait);
int clinux_syncfs(int fd);
// utimensat(2) of the open file: sets last access and modification to `nanoseconds`, or to now when negative.
int clinux_touch(int fd, int64_t nanoseconds);
// posix_fadvise(2) POSIX_FADV_DONTNEED over a range.
int clinux_forget(int fd, int64_t offset, int64_t length);
// sync_file_range(2) SYNC_FILE_RANGE_WRITE: starts writing a range back without waiting for it.
int clinux_start_writeback(int fd, int64_t offset, int64_t length);

// A name that overlayfs reads as "nothing here, whatever lies below" (character device 0:0; needs no right since Linux 5.8).
int clinux_make_whiteout(int folder, const char *name);
// A folder whose content hides what lies below: `user.overlay.opaque`, which a mount with `userxattr` reads.
int clinux_make_opaque(int folder);
// 1 when it is one, 0 when not.
int clinux_is_opaque(int folder);

/// Removes a file, or a folder with everything below it however deep it is; no symbolic link is followed.
/// A name that is not there is no error.
int clinux_remove_tree(int folder, const char *name);

#endif
