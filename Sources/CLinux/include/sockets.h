#ifndef CLINUX_SOCKETS_H
#define CLINUX_SOCKETS_H
// Connects to the unix socket `name` in an open folder: the name is opened without following a link and must be a socket
// (ENOTSOCK), and exactly what was opened is connected to, whatever the name means by then. The answer is a non-blocking,
// close-on-exec descriptor, and in *peer the process that listened, as this process sees it; or -1 with errno.
int clinux_connect_beside(int folder, const char *name, int *peer);

// Listens on a new unix socket `name` in an open folder, to which `user` alone may connect (mode 0600, and root). The answer is a
// non-blocking, close-on-exec descriptor, or -1 with errno.
int clinux_listen_beside(int folder, const char *name, unsigned user, int backlog);

// One TCP socket that listens: its port, whoever opened it, its inode, and its address as the network writes it (four bytes or
// sixteen).
struct clinux_listener {
    unsigned short port;
    unsigned char is_ipv6;
    unsigned char address[16];
    unsigned user;
    unsigned inode;
};

// Those that listen in this network namespace, as the kernel's socket diagnostics tell (sock_diag(7)): only these are looked
// at, however many other sockets there are. The answer is how many there are, of which at most `room` are in `all`, or -1 with
// errno where the kernel has no diagnostics.
int clinux_listeners(struct clinux_listener *all, int room);
#endif
