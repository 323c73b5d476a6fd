#ifndef CLINUX_SOCKETS_H
#define CLINUX_SOCKETS_H
// Connects to the unix socket `name` in an open folder: the name is opened without following a link and must be a socket
// (ENOTSOCK), and exactly what was opened is connected to, whatever the name means by then. The answer is a non-blocking,
// close-on-exec descriptor, and in *peer the process that listened, as this process sees it; or -1 with errno.
int clinux_connect_beside(int folder, const char *name, int *peer);

// Listens on a new unix socket `name` in an open folder, to which `user` alone may connect (mode 0600, and root). The answer is a
// non-blocking, close-on-exec descriptor, or -1 with errno.
int clinux_listen_beside(int folder, const char *name, unsigned user, int backlog);
#endif
