// cargo-init: carries out a launch plan and stays as pid 1 of the sandbox.
//
// Freestanding and static, executed from a sealed memory file, so that no byte of the supervisor's memory comes
// along. It decides nothing: the plan says every step and their order, and the first step that fails is reported
// as (step, errno) over a pipe that closes at exec.
#include "raw.h"
#include "steps.h"

#include <errno.h>
#include <linux/prctl.h>

// The compiler may call these even in freestanding code.
void *memcpy(void *to, const void *from, size_t count) {
    for (size_t i = 0; i < count; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}

void *memset(void *to, int value, size_t count) {
    for (size_t i = 0; i < count; i++) ((volatile char *)to)[i] = (char)value;
    return to;
}

static _Noreturn void report(uint32_t step, long error) {
    int32_t record[2] = {(int32_t)step, (int32_t)-error};
    RAW(SYS_write, FD_ERROR, record, sizeof record, 0, 0);
    leave(1);
}

// Signals start from their defaults inside: exec keeps those ignored that the supervisor ignores; pid 1 keeps them blocked and reads them.
static void reset_signals(void) {
    uint64_t action[4] = {0, 0, 0, 0};
    for (int signal = 1; signal < 32; signal++) RAW(SYS_rt_sigaction, signal, action, NULL, 8, 0);
    uint64_t all = ~0ull;
    RAW(SYS_rt_sigprocmask, 2, &all, NULL, 8, 0);
}

// In the child: signals flow again. In pid 1: the rest of its life.
static long step_fork(void) {
    RAW(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    long child = RAW(SYS_clone, 17, 0, 0, 0, 0);
    if (child < 0) return child;
    if (child > 0) supervise((int)child);
    uint64_t none = 0;
    return RAW(SYS_rt_sigprocmask, 2, &none, NULL, 8, 0);
}

static long carry_out(uint32_t operation, struct reader *in) {
    switch (operation) {
    case OP_OPEN: return step_open(in);
    case OP_INHERIT: return step_inherit(in);
    case OP_EXPECT_DEVICE: return step_expect_device(in);
    case OP_AWAIT: return step_await(in);
    case OP_BECOME: return step_become(in);
    case OP_MOUNT: return step_mount(in);
    case OP_BIND: return step_bind(in);
    case OP_DIRECTORY: return step_directory(in);
    case OP_FILE: return step_file(in);
    case OP_SYMLINK: return step_symlink(in);
    case OP_ENTER: return step_enter(in);
    case OP_PIVOT: return step_pivot(in);
    case OP_MASK: return step_mask(in);
    case OP_READ_ONLY: return step_read_only(in);
    case OP_MAKE_NETWORK: return step_make_network(in);
    case OP_ENTER_NETWORK: return step_enter_network(in);
    case OP_HOSTNAME: return step_hostname(in);
    case OP_UNSHARE: return step_unshare(in);
    case OP_RLIMIT: return step_rlimit(in);
    case OP_DROP_CAPABILITIES: return step_drop_capabilities(in);
    case OP_NO_NEW_PRIVILEGES: return step_no_new_privileges(in);
    case OP_LANDLOCK: return step_landlock(in);
    case OP_FORK: return step_fork();
    case OP_SESSION: return step_session(in);
    case OP_OOM_SCORE: return step_oom_score(in);
    case OP_CLOSE_DESCRIPTORS: return step_close_descriptors(in);
    case OP_SECCOMP: return step_seccomp(in);
    case OP_JOIN: return step_join(in);
    case OP_LISTEN: return step_listen(in);
    case OP_OVERLAY: return step_overlay(in);
    case OP_EXEC: return step_exec(in);
    default: return -EBADMSG;
    }
}

_Noreturn __attribute__((used)) void cargo_init(void) {
    reset_signals();
    RAW(SYS_prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0);
    RAW(SYS_prctl, PR_SET_NAME, "cargo-init", 0, 0, 0);
    RAW(SYS_umask, 0, 0, 0, 0, 0);

    // This process starts beside the making of its plan: the supervisor says when it is there.
    long told = await_word('P');
    if (told < 0) report(0, told);
    uint32_t header[3];
    if (RAW(SYS_pread64, FD_PLAN, header, sizeof header, 0, 0) != sizeof header || header[0] != PLAN_MAGIC)
        report(0, -EBADMSG);
    long memory = raw6(SYS_mmap, 0, header[1], 1, 2, FD_PLAN, 0);
    if (memory < 0 && memory > -4096) report(0, memory);
    struct reader plan = {(const uint8_t *)memory + sizeof header, (const uint8_t *)memory + header[1], 0};

    for (uint32_t step = 0; step < header[2]; step++) {
        uint32_t operation = read_number(&plan), length;
        const uint8_t *payload = read_blob(&plan, &length);
        if (plan.broken) report(step, -EBADMSG);
        struct reader fields = {payload, payload + length, 0};
        long result = carry_out(operation, &fields);
        if (result < 0) report(step, result);
    }
    report(header[2], -EBADMSG);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %rsp\n call cargo_init\n hlt\n");
#else
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n bl cargo_init\n brk #0\n");
#endif
