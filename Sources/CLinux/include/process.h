#ifndef CLINUX_PROCESS_H
#define CLINUX_PROCESS_H
// Starting, signalling and waiting for confined processes. Functions return what the kernel returns:
// a value, or -1 with errno set.
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/timerfd.h>

// What becomes of a process that is started apart from its supervisor.
struct clinux_start_arguments {
    // A static program, executed by descriptor, which is above those that are inherited.
    int program;
    // These become descriptors 0, 1, 2 … of the program; no other is inherited. Each must be 0 or above.
    const int *descriptors;
    int descriptor_count;
    // CLONE_NEW* flags.
    uint64_t namespaces;
    // A cgroup v2 folder to be born in, or -1.
    int cgroup;
};

// Starts the program; the answer is its process id and, in *pidfd, a descriptor of it. Shares memory with the
// caller until exec (CLONE_VM | CLONE_VFORK), so the cost does not grow with the caller's memory. Inside a new
// user namespace the program keeps the capabilities of that namespace, though no user id is mapped yet.
int clinux_start(const struct clinux_start_arguments *start, int *pidfd);

// A read-only copy of the mount of an open file or folder, attached nowhere, under which owners are mapped by a user
// namespace; close-on-exec.
int clinux_mapped_tree(int file, int user_namespace);

// An empty memory file that can be sealed; executable where `executable` is 1. Close-on-exec, with a high number.
int clinux_open_file(const char *name, int executable);

// Writes the whole content of such a file and seals it. 0, or -1 with errno.
int clinux_fill_and_seal(int file, const void *bytes, size_t count);

// A sealed memory file; executable where `executable` is 1. Close-on-exec.
int clinux_sealed_file(const char *name, const void *bytes, size_t count, int executable);

// An empty memory file, close-on-exec.
int clinux_memory_file(const char *name);

int clinux_pidfd_signal(int pidfd, int signal);
// Reaps a child by pidfd without blocking: 1 when reaped (status as wait4 gives it), 0 when it still runs.
int clinux_pidfd_reap(int pidfd, int *status, struct rusage *usage);
// The highest Landlock ABI of this kernel, or -1.
int clinux_landlock_abi(void);
// Tries one call and gives errno (0 for success), for probing a mechanism: pidfd_open, openat2, mount_setattr …
int clinux_probe_open_tree(const char *path);
// Both ends of a pipe, close-on-exec.
int clinux_pipe(int *ends);
// Two connected stream sockets, close-on-exec.
int clinux_socket_pair(int *ends);
// Receives one descriptor over a socket (close-on-exec), or -1.
int clinux_receive_descriptor(int socket);
// One system call that a filter hands to its supervisor.
struct clinux_notification {
    uint64_t id;
    int number;
    uint64_t arguments[6];
};
// Waits for the next one: 0, or -1 with errno (ENOENT: its caller is gone).
int clinux_notification_receive(int listener, struct clinux_notification *notification);
// Answers it: the call fails with this errno.
int clinux_notification_refuse(int listener, uint64_t id, int error);
// Names the calling thread, at most 15 bytes.
void clinux_name_thread(const char *name);
// Descriptors above every low number, so that they survive being renumbered.
int clinux_duplicate_high(int descriptor);
// Wait status taken apart.
int clinux_exited(int status);
int clinux_exit_code(int status);
int clinux_term_signal(int status);

#endif
