#include "include/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME = 300, PASSES = 8 };

static void place(char *buffer, const char *name, unsigned long number) {
    if (number == 0)
        snprintf(buffer, NAME, "%s", name);
    else
        snprintf(buffer, NAME, "%s-%lu", name, number);
}

static int is_folder(int folder, const struct dirent *entry) {
    if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
    struct stat status;
    return fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

// Empties one folder: files are removed, folders inside are moved up beside it, under the next numbers.
static int empty(int parent, const char *name, int current, unsigned long *moved) {
    int copy = dup(current);
    DIR *entries = copy < 0 ? NULL : fdopendir(copy);
    if (!entries) {
        if (copy >= 0) close(copy);
        return -1;
    }
    rewinddir(entries);
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(entries))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (is_folder(current, entry)) {
            char target[NAME];
            place(target, name, ++*moved);
            // An ordinary user moves only a folder that it may write.
            fchmodat(current, entry->d_name, 0700, 0);
            result = renameat(current, entry->d_name, parent, target);
        } else if (unlinkat(current, entry->d_name, 0) != 0 && errno != ENOENT) {
            result = -1;
        }
    }
    int error = errno;
    closedir(entries);
    errno = error;
    return result;
}

int clinux_remove_tree(int parent, const char *name) {
    unsigned long moved = 0;
    for (unsigned long next = 0; next <= moved; next++) {
        char current[NAME];
        place(current, name, next);
        fchmodat(parent, current, 0700, 0);
        int folder = openat(parent, current, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (folder < 0) {
            if (errno == ENOENT) continue;
            return -1;
        }
        int result = -1;
        // A file system may skip entries of a folder that changes while it is read.
        for (int pass = 0; pass < PASSES && result != 0; pass++) {
            if (empty(parent, name, folder, &moved) != 0) break;
            result = unlinkat(parent, current, AT_REMOVEDIR);
            if (result != 0 && errno != ENOTEMPTY && errno != EEXIST) break;
        }
        int error = errno;
        close(folder);
        errno = error;
        if (result != 0) return -1;
    }
    return 0;
}
