// Lines 19 to 21: refusing to end, and outputs that are traps for whoever collects them.
#include "attempt.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static void ignore_everything(void) {
    for (int number = 1; number < 65; number++) signal(number, SIG_IGN);
}
static _Noreturn void linger(void) {
    for (;;) pause();
}
static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0) _exit(9);
}

/// Two forks and a session of its own: nobody's child, nobody's group.
static void daemonize(int hold_streams, int ignore) {
    int ready[2];
    if (pipe(ready)) _exit(9);
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            if (ignore) ignore_everything();
            if (!hold_streams) close(0), close(1), close(2);
            close(ready[0]);
            close(ready[1]);
            linger();
        }
        _exit(0);
    }
    close(ready[1]);
    char byte;
    while (read(ready[0], &byte, 1) > 0) continue; // until the daemon has let go of it
    wait(NULL);
}

/// Orphans that end: pid 1 has to reap them.
static void orphans(int most) {
    for (int at = 0; at < most; at++) {
        pid_t middle = fork();
        if (middle == 0) {
            if (fork() == 0) _exit(0);
            _exit(0);
        }
        waitpid(middle, NULL, 0);
    }
    int left = 0;
    for (int tries = 0; tries < 500; tries++) {
        left = 0;
        DIR *list = opendir("/proc");
        if (!list) _exit(9);
        for (struct dirent *entry; (entry = readdir(list));) {
            char path[300], state = 0;
            snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
            FILE *file = atoi(entry->d_name) > 0 ? fopen(path, "re") : NULL;
            if (!file) continue;
            if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z') left++;
            fclose(file);
        }
        closedir(list);
        if (!left) denied(0, "zombies");
        usleep(2000);
    }
    succeeded("%d zombies stay", left);
}

static void signal_init(void) {
    static const int numbers[] = {SIGSTOP, SIGKILL, SIGSEGV, SIGABRT, SIGFPE, SIGPIPE, SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2};
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++) kill(1, numbers[at]);
    usleep(50000);
    _exit(7);
}

static void socket_output(void) {
    int handle = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/job/output/socket"};
    if (bind(handle, (struct sockaddr *)&address, sizeof address)) denied(errno, "bind in /job/output");
}
static void write_output(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || write(file, text, strlen(text)) < 0) denied(errno, path);
    close(file);
}

int misbehave(int count, char **words) {
    if (count < 1) return 2;
    const char *what = words[0];
    if (!strcmp(what, "tell-uid")) _exit(geteuid() == 12345 ? 77 : 0);
    if (!strcmp(what, "ignore-signals")) ignore_everything(), say("up\n"), linger();
    if (!strcmp(what, "ignore-signals-in-many")) {
        ignore_everything();
        for (int at = 0; at < 5; at++)
            if (fork() == 0) setsid(), linger();
        say("up\n");
        linger();
    }
    if (!strcmp(what, "stop-self")) say("up\n"), raise(SIGSTOP), linger();
    if (!strcmp(what, "stop-group")) say("up\n"), kill(0, SIGSTOP), linger();
    if (!strcmp(what, "daemon")) return daemonize(0, 0), 0;
    if (!strcmp(what, "daemon-holding-streams")) return daemonize(1, 0), 0;
    if (!strcmp(what, "daemon-ignoring-signals")) return daemonize(1, 1), 0;
    if (!strcmp(what, "close-streams")) return close(0), close(1), close(2), usleep(100000), 5;
    if (!strcmp(what, "orphans")) orphans(count > 1 ? atoi(words[1]) : 100);
    if (!strcmp(what, "signal-pid-1")) signal_init();
    if (!strcmp(what, "linger")) say("up\n"), linger();

    // Outputs.
    if (!strcmp(what, "output-symlink")) return symlink("/etc/passwd", "/job/output/link") != 0;
    if (!strcmp(what, "output-folder-symlink")) return symlink("/etc", "/job/output/folder") != 0;
    if (!strcmp(what, "output-fifo")) return mkfifo("/job/output/fifo", 0600) != 0;
    if (!strcmp(what, "output-socket")) return socket_output(), 0;
    if (!strcmp(what, "output-hard-links")) {
        write_output("/job/output/one", "same");
        return link("/job/output/one", "/job/output/two") != 0;
    }
    if (!strcmp(what, "output-unreadable")) {
        write_output("/job/output/closed", "data");
        mkdir("/job/output/folder", 0700);
        write_output("/job/output/folder/inner", "data");
        return chmod("/job/output/closed", 0) || chmod("/job/output/folder", 0);
    }
    if (!strcmp(what, "output-closed")) {
        write_output("/job/output/inner", "data");
        return chmod("/job/output", 0) != 0;
    }
    if (!strcmp(what, "output-names")) {
        write_output("/job/output/new\nline", "a");
        write_output("/job/output/\033[31mred", "b");
        write_output("/job/output/-rf", "c");
        write_output("/job/output/bad-\xff\xfe-utf8", "d");
        write_output("/job/output/back\\slash", "e");
        return 0;
    }
    if (!strcmp(what, "output-setuid")) {
        write_output("/job/output/tool", "#!/bin/sh\n");
        return chmod("/job/output/tool", 06755);
    }
    return 2;
}
