// load MODE HOST PORT KEYFILE CONNECTIONS COUNT BODYFILE: drives the job API over HTTP/1.1 with kept-alive connections, one
// thread, epoll, no library, so that what is measured is the server. Prints one JSON object.
//   submit  COUNT jobs, each with an Idempotency-Key of its own
//   claim   COUNT claims, each completed at once but only the claim is timed
//   life    half of the connections submit COUNT jobs, the others claim and complete them; ends when all are complete
//   drain   claims and completes until nothing is left
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most = 1024, room = 1 << 16 };
enum step { submitting, claiming, completing, done };

struct connection {
    int fd;
    enum step step;
    int submits;
    size_t to_send, sent, received;
    double asked;
    char out[room], in[room];
};

static char *host, *key, *body;
static int port, connections;
static long count, submitted, acknowledged, claimed, completed, refused;
static double *latencies;
static long measured;
static int timing;
static struct connection *all;
static long run;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void die(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    exit(1);
}

static char *contents(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %s", path, strerror(errno));
    char *text = calloc(1, room / 2);
    size_t length = fread(text, 1, room / 2 - 1, file);
    fclose(file);
    while (length && (text[length - 1] == '\n' || text[length - 1] == ' ')) text[--length] = 0;
    return text;
}

static void request(struct connection *c, const char *path, const char *extra, const char *json) {
    int length = snprintf(
        c->out, room,
        "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
        path, host, key, extra, strlen(json), json);
    if (length >= room) die("a request is larger than %d bytes", room);
    c->to_send = length;
    c->sent = c->received = 0;
    c->asked = now();
}

static void next(struct connection *c) {
    char header[100];
    if (c->submits) {
        if (submitted == count) {
            c->step = done;
            return;
        }
        c->step = submitting;
        snprintf(header, sizeof header, "Idempotency-Key: %ld-%ld\r\n", run, submitted++);
        request(c, "/jobs", header, body);
    } else {
        if (claimed >= count) {
            c->step = done;
            return;
        }
        c->step = claiming;
        request(c, "/hosts/next-job", "", "{\"wait\":1,\"slots\":1,\"capabilities\":{\"kinds\":[\"process\"]}}");
    }
}

static void pump(struct connection *c);

static void note(double seconds) {
    if (measured < count) latencies[measured++] = seconds;
}

// The claim's answer is {"job":{…"id":"…"…},"lease":{…}}; the lease is sent back as it came.
static void complete(struct connection *c, char *json) {
    char *lease = strstr(json, "\"lease\":{"), *id = strstr(json, "\"id\":\"");
    if (!lease || !id || strlen(id) < 43) die("no claim: %.300s", json);
    char *end = strchr(lease, '}');
    if (!end) die("no lease: %.300s", json);
    char path[100], text[4096];
    snprintf(path, sizeof path, "/jobs/%.36s/complete", id + 6);
    snprintf(
        text, sizeof text, "{%.*s,\"exit_code\":0,\"wall_seconds\":0.001,\"outputs\":[]}", (int)(end + 1 - lease), lease);
    c->step = completing;
    request(c, path, "", text);
}

static void answered(struct connection *c, int status, char *json) {
    double took = now() - c->asked;
    switch (c->step) {
    case submitting:
        if (status != 202) {
            refused++;
            if (refused < 4) fprintf(stderr, "load: submit answered %d: %.300s\n", status, json);
        } else {
            acknowledged++;
        }
        if (timing == submitting) note(took);
        break;
    case claiming:
        if (status == 204) {
            if (timing == done) {
                c->step = done;
                return;
            }
            break;
        }
        if (status != 200) die("claim answered %d: %.300s", status, json);
        claimed++;
        if (timing == claiming) note(took);
        complete(c, json);
        return;
    case completing:
        if (status != 200) die("complete answered %d: %.300s", status, json);
        completed++;
        break;
    case done: return;
    }
    next(c);
}

// Whether a whole answer was there and was taken.
static int parse(struct connection *c) {
    c->in[c->received] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return 0;
    int status = atoi(c->in + 9);
    char *field = strcasestr(c->in, "\r\ncontent-length:");
    size_t length = field && field < end ? strtoul(field + 17, 0, 10) : 0;
    size_t whole = end + 4 - c->in + length;
    if (whole >= room) die("an answer is larger than %d bytes", room);
    if (c->received < whole) return 0;
    answered(c, status, end + 4);
    return 1;
}

static void pump(struct connection *c) {
    for (;;) {
        while (c->sent < c->to_send) {
            ssize_t sent = send(c->fd, c->out + c->sent, c->to_send - c->sent, MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN) return;
            if (sent < 0) die("send: %s", strerror(errno));
            c->sent += sent;
        }
        ssize_t got = recv(c->fd, c->in + c->received, room - 1 - c->received, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got < 0) die("receive: %s", strerror(errno));
        if (got == 0) die("the server closed a connection");
        c->received += got;
        if (parse(c) && c->step == done) return;
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double part) { return measured ? latencies[(long)((measured - 1) * part)] * 1000 : 0; }

int main(int argc, char **argv) {
    if (argc != 8) die("usage: load submit|claim|life|drain HOST PORT KEYFILE CONNECTIONS COUNT BODYFILE");
    const char *mode = argv[1];
    host = argv[2], port = atoi(argv[3]), key = contents(argv[4]), connections = atoi(argv[5]), count = atol(argv[6]);
    body = contents(argv[7]);
    if (connections < 1 || connections > most) die("1 to %d connections", most);
    int life = !strcmp(mode, "life"), drain = !strcmp(mode, "drain");
    timing = !strcmp(mode, "claim") ? claiming : drain ? done : submitting;
    latencies = calloc(count, sizeof *latencies);
    all = calloc(connections, sizeof *all);
    run = (long)time(0) * 100000 + getpid() % 100000;
    int poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die("%s is no address", host);
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect: %s", strerror(errno));
        int yes = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->submits = life ? i % 2 == 0 : timing == submitting;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
    }
    double begun = now();
    for (int i = 0; i < connections; i++) {
        next(&all[i]);
        if (all[i].step != done) pump(&all[i]);
    }
    for (;;) {
        int busy = 0;
        if (life) {
            busy = completed < count;
        } else {
            for (int i = 0; i < connections; i++) busy |= all[i].step != done;
        }
        if (!busy) break;
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->step != done) pump(c);
        }
    }
    double seconds = now() - begun;
    qsort(latencies, measured, sizeof *latencies, ascending);
    long units = life || drain ? completed : timing == claiming ? claimed : acknowledged;
    printf(
        "{\"mode\":\"%s\",\"count\":%ld,\"refused\":%ld,\"seconds\":%.3f,\"per_second\":%.0f,"
        "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
        mode, units, refused, seconds, units / seconds, percentile(.5), percentile(.99), percentile(1));
    return refused != 0;
}
