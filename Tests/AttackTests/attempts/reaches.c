// Lines 13 and 15: other processes, sockets, networks and shared memory of the host and of other jobs.
#include "attempt.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <mqueue.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { shared_key = 0x10f95a7e };
static const char shared_file[] = "/longshore-victim";

static int victim(void) {
    if (!outside.victim) denied(0, "no --victim");
    return outside.victim;
}

static void signal_victim(void) {
    need(kill(victim(), 0), "kill(host process, 0)");
    succeeded("may signal a host process");
}
static void see_victim(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", victim());
    int file = open(path, O_RDONLY | O_CLOEXEC);
    need(file, path);
    succeeded("opened %s", path);
}
static void trace(int process, const char *what) {
    need(ptrace(PTRACE_SEIZE, process, 0, 0), what);
    succeeded("%s", what);
}
static void trace_victim(void) { trace(victim(), "ptrace(SEIZE, host process)"); }
static void trace_init(void) { trace(1, "ptrace(SEIZE, 1)"); }
static void read_memory(int process, const char *what) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)(size_t)0x10, 1};
    long result = process_vm_readv(process, &here, 1, &there, 1, 0);
    // EFAULT: the address is wrong, but we were allowed to look.
    if (result < 0 && errno != EFAULT) denied(errno, what);
    succeeded("%s", what);
}
static void read_victim(void) { read_memory(victim(), "process_vm_readv(host process)"); }
static void read_init(void) { read_memory(1, "process_vm_readv(1)"); }
static void take_descriptor(int process, const char *what) {
    int handle = (int)syscall(SYS_pidfd_open, process, 0);
    need(handle, "pidfd_open");
    long taken = syscall(SYS_pidfd_getfd, handle, 0, 0);
    if (taken < 0 && errno == EBADF) succeeded("%s went past the check", what);
    need(taken, what);
    succeeded("%s", what);
}
static void descriptor_of_victim(void) { take_descriptor(victim(), "pidfd_getfd(host process)"); }
static void descriptor_of_init(void) { take_descriptor(1, "pidfd_getfd(1)"); }
static void compare_init(void) { judge(syscall(SYS_kcmp, getpid(), 1, 3 /* FILES */, 0, 0), "kcmp(1)"); }
static void limits_of_victim(void) {
    struct rlimit limit;
    need(prlimit(victim(), RLIMIT_CPU, NULL, &limit), "prlimit(host process)");
    succeeded("read the limits of a host process");
}
static void priority_of_victim(void) {
    errno = 0;
    int now = getpriority(PRIO_PROCESS, (id_t)victim());
    if (now == -1 && errno) denied(errno, "getpriority(host process)");
    judge(setpriority(PRIO_PROCESS, (id_t)victim(), now), "setpriority(host process)");
}
static void raise_priority(void) {
    judge(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 1), "nice -1");
}
static void real_time(void) {
    struct sched_param parameter = {.sched_priority = 1};
    judge(sched_setscheduler(0, SCHED_FIFO, &parameter), "SCHED_FIFO");
}
/// A sibling offers itself to be traced: rewriting its registers once led past filters.
static void trace_sibling(void) {
    pid_t sibling = fork();
    need(sibling, "fork");
    if (sibling == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0) _exit(errno);
        raise(SIGSTOP);
        _exit(0);
    }
    int status;
    waitpid(sibling, &status, WUNTRACED);
    if (WIFEXITED(status)) denied(WEXITSTATUS(status), "PTRACE_TRACEME");
    kill(sibling, SIGKILL);
    waitpid(sibling, &status, 0);
    succeeded("a sibling stopped under our trace");
}
static void signal_everyone(void) {
    // Signal 0 to all processes that we may signal: reaching none but pid 1 and our own is right.
    if (kill(-1, 0) < 0) denied(errno, "kill(-1, 0)");
    if (outside.victim && kill(outside.victim, 0) == 0) succeeded("kill(-1) reaches a host process");
    denied(ESRCH, "kill(-1) reaches only the job");
}

static void connect_unix(const char *path, int abstract) {
    int handle = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(handle, "socket(AF_UNIX)");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(path));
    need(connect(handle, (struct sockaddr *)&address, length), path);
    succeeded("connected to %s%s", abstract ? "@" : "", path);
}
static void abstract_socket(void) {
    if (!outside.abstract) denied(0, "no --abstract");
    connect_unix(outside.abstract, 1);
}
static void docker_socket(void) {
    static const char *const paths[] = {"/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"};
    for (size_t at = 0; at < sizeof paths / sizeof *paths; at++)
        if (access(paths[at], F_OK) == 0) connect_unix(paths[at], 0);
    denied(ENOENT, "container sockets");
}
static void job_socket(void) {
    if (!outside.secret) denied(0, "no --secret");
    char path[200];
    snprintf(path, sizeof path, "%s.sock", outside.secret);
    connect_unix(path, 0);
}
static void connect_tcp(const char *host, int port) {
    int handle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    need(handle, "socket(AF_INET)");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    if (connect(handle, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) denied(errno, host);
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(handle, &writable);
    struct timeval second = {1, 0};
    if (select(handle + 1, NULL, &writable, NULL, &second) <= 0) denied(ETIMEDOUT, host);
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) denied(error, host);
    succeeded("connected to %s:%d", host, port);
}
static void host_port(void) { connect_tcp("127.0.0.1", outside.port ? outside.port : 1); }
static void metadata(void) { connect_tcp("169.254.169.254", outside.port ? outside.port : 80); }
/// Those that are up: a kernel puts resting tunnels into every new network.
static void interfaces(void) {
    struct ifaddrs *list;
    if (getifaddrs(&list)) denied(errno, "getifaddrs");
    for (struct ifaddrs *at = list; at; at = at->ifa_next)
        if (strcmp(at->ifa_name, "lo") && (at->ifa_flags & IFF_UP)) succeeded("sees interface %s", at->ifa_name);
    denied(0, "interfaces besides lo");
}
static void raw_socket(void) { judge(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "socket(SOCK_RAW)"); }
static void odd_socket(int family, int kind, const char *what) {
    int handle = socket(family, kind, 0);
    need(handle, what);
    succeeded("%s", what);
}
static void packet_socket(void) { odd_socket(AF_PACKET, SOCK_RAW, "socket(AF_PACKET)"); }
/// Machine sockets belong to no network namespace: they reach the hypervisor.
static void machine_socket(void) { odd_socket(40 /* AF_VSOCK */, SOCK_STREAM, "socket(AF_VSOCK)"); }
static void crypto_socket(void) { odd_socket(38 /* AF_ALG */, SOCK_SEQPACKET, "socket(AF_ALG)"); }
static void audit_socket(void) { judge(socket(AF_NETLINK, SOCK_RAW, 9 /* AUDIT */), "socket(NETLINK_AUDIT)"); }
static void uevent_socket(void) {
    int handle = socket(AF_NETLINK, SOCK_RAW, 15 /* KOBJECT_UEVENT */);
    need(handle, "socket(NETLINK_KOBJECT_UEVENT)");
    struct sockaddr address = {.sa_family = AF_NETLINK};
    ((unsigned *)&address)[2] = 1;
    need(bind(handle, &address, 12), "bind(uevents)");
    succeeded("listens to the kernel's device events");
}

static void shared_memory(void) {
    int segment = shmget(shared_key, 0, 0);
    need(segment, "shmget(key of the host)");
    succeeded("found a shared memory segment of the host");
}
static void message_queue(void) {
    mqd_t queue = mq_open(shared_file, O_RDONLY | O_NONBLOCK);
    if (queue == (mqd_t)-1) denied(errno, "mq_open(queue of the host)");
    succeeded("opened a message queue of the host");
}
static void shared_folder(void) {
    char path[100];
    snprintf(path, sizeof path, "/dev/shm%s", shared_file);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    need(file, path);
    succeeded("opened %s", path);
}

static int listen_unix(const char *path, int abstract) {
    int handle = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(path));
    if (bind(handle, (struct sockaddr *)&address, length) || listen(handle, 8)) return -1;
    return handle;
}
static volatile sig_atomic_t stopping;
static void stop_waiting(int number) { stopping = number; }

void be_victim(const char *abstract, int port, const char *path) {
    // A control's tracer and reader are strangers to us where Yama is on.
    prctl(0x59616d61 /* PR_SET_PTRACER */, -1L);
    char socket_path[200];
    snprintf(socket_path, sizeof socket_path, "%s.sock", path);
    if (listen_unix(abstract, 1) < 0 || listen_unix(socket_path, 0) < 0) perror("victim: unix sockets");
    int handle = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(handle, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (bind(handle, (struct sockaddr *)&address, sizeof address) || listen(handle, 8)) perror("victim: tcp");
    socklen_t length = sizeof address;
    getsockname(handle, (struct sockaddr *)&address, &length);
    int segment = shmget(shared_key, 4096, IPC_CREAT | 0666);
    if (mq_open(shared_file, O_CREAT | O_RDWR, 0666, NULL) == (mqd_t)-1) perror("victim: mq_open");
    char shared_path[100];
    snprintf(shared_path, sizeof shared_path, "/dev/shm%s", shared_file);
    close(open(shared_path, O_CREAT | O_RDWR, 0644));
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    // Ends at SIGTERM, or with the test that started us.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); // whoever started us may have blocked it
    signal(SIGTERM, stop_waiting);
    for (pid_t parent = getppid(); !stopping && getppid() == parent;) usleep(50000);
    shmctl(segment, IPC_RMID, NULL);
    mq_unlink(shared_file);
    unlink(shared_path);
    unlink(socket_path);
    _exit(0);
}

const struct attempt reaches[] = {
    {13, "signals-a-host-process", signal_victim},
    {13, "sees-a-host-process", see_victim},
    {13, "traces-a-host-process", trace_victim},
    {13, "reads-memory-of-a-host-process", read_victim},
    {13, "takes-a-descriptor-of-a-host-process", descriptor_of_victim},
    {13, "reads-limits-of-a-host-process", limits_of_victim},
    {13, "sets-the-priority-of-a-host-process", priority_of_victim},
    {13, "signals-every-process", signal_everyone},
    {13, "traces-pid-1", trace_init},
    {13, "reads-memory-of-pid-1", read_init},
    {13, "takes-a-descriptor-of-pid-1", descriptor_of_init},
    {13, "compares-itself-with-pid-1", compare_init},
    {13, "traces-a-sibling", trace_sibling},
    {13, "raises-its-priority", raise_priority},
    {13, "runs-in-real-time", real_time},
    {15, "connects-to-an-abstract-socket", abstract_socket},
    {15, "connects-to-a-container-socket", docker_socket},
    {15, "connects-to-another-jobs-socket", job_socket},
    {15, "connects-to-a-port-of-the-host", host_port},
    {15, "connects-to-the-metadata-address", metadata},
    {15, "sees-network-interfaces", interfaces},
    {15, "opens-a-raw-socket", raw_socket},
    {15, "opens-a-packet-socket", packet_socket},
    {15, "opens-a-machine-socket", machine_socket},
    {15, "opens-a-crypto-socket", crypto_socket},
    {15, "opens-an-audit-socket", audit_socket},
    {15, "hears-device-events", uevent_socket},
    {15, "finds-shared-memory-of-the-host", shared_memory},
    {15, "opens-a-message-queue-of-the-host", message_queue},
    {15, "opens-shared-files-of-the-host", shared_folder},
    {0, NULL, NULL},
};
