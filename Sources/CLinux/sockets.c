#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int clinux_connect_beside(int folder, const char *name, int *peer) {
    int place = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0) return -1;
    int line = -1;
    struct stat status;
    if (fstat(place, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        errno = ENOTSOCK;
        goto failed;
    }
    line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (line < 0) goto failed;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", place);
    if (connect(line, (struct sockaddr *)&address, sizeof address) != 0) goto failed;
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(line, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) goto failed;
    *peer = credentials.pid;
    close(place);
    return line;
failed:;
    int reason = errno;
    if (line >= 0) close(line);
    close(place);
    errno = reason;
    return -1;
}

int clinux_listen_beside(int folder, const char *name, unsigned user, int backlog) {
    int line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (line < 0) return -1;
    // The folder by its descriptor: its own path may be longer than an address.
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        goto failed;
    }
    if (bind(line, (struct sockaddr *)&address, sizeof address) != 0) goto failed;
    // Before it listens nobody can connect, whatever its mode was until here.
    if (fchmodat(folder, name, 0600, 0) != 0) goto failed;
    if (user != geteuid() && fchownat(folder, name, user, user, AT_SYMLINK_NOFOLLOW) != 0) goto failed;
    if (listen(line, backlog) != 0) goto failed;
    return line;
failed:;
    int reason = errno;
    close(line);
    errno = reason;
    return -1;
}
