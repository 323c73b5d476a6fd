#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
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

static void take(const struct inet_diag_msg *told, struct clinux_listener *to) {
    memset(to, 0, sizeof *to);
    to->port = ntohs(told->id.idiag_sport);
    to->is_ipv6 = told->idiag_family == AF_INET6;
    memcpy(to->address, told->id.idiag_src, to->is_ipv6 ? 16 : 4);
    to->user = told->idiag_uid;
    to->inode = told->idiag_inode;
}

// Adds what one answer of several messages tells to `count`; 1 when it was the last, -1 with errno when it tells of a failure.
static int read_answer(const char *bytes, ssize_t left, struct clinux_listener *all, int room, int *count) {
    for (const struct nlmsghdr *head = (const struct nlmsghdr *)bytes; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
        if (head->nlmsg_type == NLMSG_DONE) return 1;
        if (head->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *fault = NLMSG_DATA(head);
            errno = head->nlmsg_len >= NLMSG_LENGTH(sizeof *fault) && fault->error < 0 ? -fault->error : EIO;
            return -1;
        }
        if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || head->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg))) continue;
        if (*count < room) take(NLMSG_DATA(head), &all[*count]);
        *count += 1;
    }
    return 0;
}

int clinux_listeners(struct clinux_listener *all, int room) {
    int line = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (line < 0) return -1;
    const int families[] = {AF_INET, AF_INET6};
    int count = 0;
    for (int family = 0; family < 2; family++) {
        struct {
            struct nlmsghdr head;
            struct inet_diag_req_v2 asked;
        } request = {
            .head = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
            .asked = {.sdiag_family = families[family], .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << TCP_LISTEN},
        };
        struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
        if (sendto(line, &request, sizeof request, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) goto failed;
        for (int is_last = 0; !is_last;) {
            _Alignas(struct nlmsghdr) char answer[32 << 10];
            ssize_t length = recv(line, answer, sizeof answer, 0);
            if (length < 0 && errno == EINTR) continue;
            if (length <= 0) goto failed;
            is_last = read_answer(answer, length, all, room, &count);
            if (is_last < 0) goto failed;
        }
    }
    close(line);
    return count;
failed:;
    int reason = errno;
    close(line);
    errno = reason;
    return -1;
}
