// attempts [--victim PID] [--abstract NAME] [--port N] [--secret FILE] all | list | NAME…
// attempts victim ABSTRACT PORT PATH · attempts exhaust WHAT … · attempts misbehave WHAT …
//
// Every attempt is written so that its success does no harm: it opens without writing, mounts on a folder of its
// own, seizes without stopping, passes arguments that the kernel rejects behind the check that is tested.
#include "attempt.h"
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

struct outside outside;
static const struct attempt *const groups[] = {escapes, reaches, kernel_calls, namespaces};
enum { group_count = sizeof groups / sizeof *groups, patience_ms = 4000 };

void succeeded(const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at; at++)
        if (*at == '\n' || *at == '\t') *at = ' ';
    dprintf(1, "succeeded: %s\n", text);
    _exit(0);
}

void denied(int error, const char *what) {
    const char *name = error ? strerrorname_np(error) : "absent";
    dprintf(1, "denied: %s (%s)\n", name ? name : "?", what);
    _exit(0);
}

void judge(long result, const char *what) {
    if (result >= 0) succeeded("%s", what);
    if (errno == EPERM || errno == EACCES || errno == ENOSYS) denied(errno, what);
    succeeded("%s went past the check (%s)", what, strerrorname_np(errno));
}

void need(long result, const char *what) {
    if (result < 0) denied(errno, what);
}

/// Before anything is opened: which descriptors above 2 did we inherit?
static char inherited[300];
static void note_inherited(void) {
    for (int fd = 3; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        char link[64], target[200] = "?";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, target, sizeof target - 1);
        if (length > 0) target[length] = 0;
        snprintf(inherited, sizeof inherited, "descriptor %d is %s", fd, target);
        return;
    }
}
void attempt_inherited(void) {
    if (*inherited) succeeded("%s", inherited);
    denied(EBADF, "every descriptor above 2");
}

/// One attempt in a child; the verdict it printed stands, else how it died.
static void perform(const struct attempt *attempt) {
    printf("%s\t", attempt->name);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        printf("nothing: fork failed (%s)\n", strerrorname_np(errno));
        return;
    }
    if (child == 0) {
        attempt->run();
        dprintf(1, "nothing: no verdict\n");
        _exit(0);
    }
    int status = 0;
    for (int waited = 0; waitpid(child, &status, WNOHANG) == 0; waited++) {
        if (waited >= patience_ms) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            printf("hung\n");
            fflush(stdout);
            return;
        }
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    if (WIFSIGNALED(status)) printf("denied: SIG%s (killed)\n", sigabbrev_np(WTERMSIG(status)));
    fflush(stdout);
}

static int perform_named(const char *name) {
    int found = 0;
    for (int group = 0; group < group_count; group++)
        for (const struct attempt *attempt = groups[group]; attempt->name; attempt++)
            if (!strcmp(name, "all") || !strcmp(name, attempt->name)) {
                perform(attempt);
                found = 1;
            }
    return found;
}

static void list(void) {
    for (int group = 0; group < group_count; group++)
        for (const struct attempt *attempt = groups[group]; attempt->name; attempt++)
            printf("%d\t%s\n", attempt->line, attempt->name);
}

int main(int count, char **words) {
    note_inherited();
    int at = 1;
    for (; at + 1 < count && !strncmp(words[at], "--", 2); at += 2) {
        const char *value = words[at + 1];
        if (!strcmp(words[at], "--victim")) outside.victim = atoi(value);
        else if (!strcmp(words[at], "--abstract")) outside.abstract = value;
        else if (!strcmp(words[at], "--port")) outside.port = atoi(value);
        else if (!strcmp(words[at], "--secret")) outside.secret = value;
        else return dprintf(2, "unknown option %s\n", words[at]), 2;
    }
    if (at >= count) return dprintf(2, "usage: attempts [options] all | list | NAME…\n"), 2;
    if (!strcmp(words[at], "list")) return list(), 0;
    if (!strcmp(words[at], "victim") && count - at == 4) be_victim(words[at + 1], atoi(words[at + 2]), words[at + 3]);
    if (!strcmp(words[at], "exhaust")) return exhaust(count - at - 1, words + at + 1);
    if (!strcmp(words[at], "misbehave")) return misbehave(count - at - 1, words + at + 1);
    for (; at < count; at++)
        if (!perform_named(words[at])) return dprintf(2, "no attempt is named %s\n", words[at]), 2;
    return 0;
}
