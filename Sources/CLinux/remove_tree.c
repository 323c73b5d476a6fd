#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A stranger's tree may be a hundred thousand folders deep, closed to its owner and named in no encoding. So nothing
// here recurses, builds a path or reads a name as text: folders found below the first level are moved up to it, and
// at most two folders are open at once.

static int is_dots(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }

static int is_folder(int folder, const char *name) {
  struct stat status;
  return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

static int open_folder(int parent, const char *name) {
  return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static DIR *scan(int folder) {
  int copy = open_folder(folder, ".");
  if (copy < 0) return NULL;
  DIR *list = fdopendir(copy);
  if (!list) close(copy);
  return list;
}

/// Moves a folder up to the top under a name that nothing has there.
static int lift(int from, const char *name, int top, unsigned long *counter) {
  char lifted[64];
  fchmodat(from, name, 0700, 0); // a folder that is closed to us cannot get another parent
  for (int tries = 0; tries < 1000; tries++) {
    snprintf(lifted, sizeof lifted, ".longshore-removed-%lu", ++*counter);
    if (renameat(from, name, top, lifted) == 0 || errno == ENOENT) return 0;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR) return -1;
  }
  return -1;
}

/// Empties a folder of the first level: files go, folders are lifted.
static int empty(int top, const char *name, unsigned long *counter) {
  fchmodat(top, name, 0700, 0);
  int folder = open_folder(top, name);
  if (folder < 0) return -1;
  DIR *list = scan(folder);
  int failed = list ? 0 : -1;
  for (struct dirent *entry; !failed && (entry = readdir(list));) {
    if (is_dots(entry->d_name)) continue;
    if (unlinkat(folder, entry->d_name, 0) == 0 || errno == ENOENT) continue;
    failed = is_folder(folder, entry->d_name) ? lift(folder, entry->d_name, top, counter) : -1;
  }
  int error = errno;
  if (list) closedir(list);
  close(folder);
  errno = error;
  return failed;
}

int clinux_remove_tree(int parent, const char *name) {
  if (!is_folder(parent, name)) return unlinkat(parent, name, 0) == 0 || errno == ENOENT ? 0 : -1;
  fchmodat(parent, name, 0700, 0);
  int top = open_folder(parent, name);
  if (top < 0) return -1;
  unsigned long counter = 0;
  int failed = 0, left = 1;
  // Each pass removes every folder that it sees, so passes end when nothing is lifted any more.
  while (left && !failed) {
    left = 0;
    DIR *list = scan(top);
    if (!list) failed = -1;
    for (struct dirent *entry; !failed && (entry = readdir(list));) {
      if (is_dots(entry->d_name)) continue;
      left = 1;
      if (unlinkat(top, entry->d_name, 0) == 0 || errno == ENOENT) continue;
      if (unlinkat(top, entry->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
      if (!is_folder(top, entry->d_name)) {
        failed = -1;
      } else {
        failed = empty(top, entry->d_name, &counter);
        if (!failed && unlinkat(top, entry->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT && errno != ENOTEMPTY) failed = -1;
      }
    }
    int error = errno;
    if (list) closedir(list);
    errno = error;
  }
  int error = errno;
  close(top);
  errno = error;
  if (failed) return -1;
  return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}
