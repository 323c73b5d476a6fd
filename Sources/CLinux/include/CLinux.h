#ifndef CLINUX_H
#define CLINUX_H
#include "files.h"
// Thin wrappers of Linux system calls that the C library does not declare. Each returns what the
// kernel returns: a value, or -1 with errno set.
int clinux_pidfd_open(int pid, unsigned int flags);

#include "process.h"
#include "quota.h"
#include "sockets.h"
#endif
