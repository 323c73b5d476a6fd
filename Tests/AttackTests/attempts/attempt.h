// What attempts share. Each runs in a process of its own and ends it with one verdict line on standard output.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/// What the caller says about the world outside: things that a confined job must not reach.
struct outside {
    int victim;           // a process id of the host, 0 = none
    const char *abstract; // an abstract socket's name
    int port;             // a TCP port that listens on 127.0.0.1 and 169.254.169.254
    const char *secret;   // a readable file of the host
};
extern struct outside outside;

/// The attack works: it prints how and ends.
_Noreturn void succeeded(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// The attack was turned away with `error` at `what`.
_Noreturn void denied(int error, const char *what);
/// Judges a system call whose arguments are deliberately useless: EPERM, EACCES and ENOSYS are denials, every other
/// answer comes from behind the check, so it counts as a success.
_Noreturn void judge(long result, const char *what);
/// Denied unless the call succeeded; nothing happens on success.
void need(long result, const char *what);

struct attempt {
    int line; // of the table of attacks
    const char *name;
    void (*run)(void);
};
extern const struct attempt escapes[], reaches[], kernel_calls[], namespaces[];

/// Attacks on the machine's supply, and misbehaviours: each a subcommand of its own with arguments.
int exhaust(int count, char **words);
int misbehave(int count, char **words);
/// Listens on everything that a confined job must not reach, and waits to be killed.
_Noreturn void be_victim(const char *abstract, int port, const char *path);
