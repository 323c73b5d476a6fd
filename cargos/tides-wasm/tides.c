// Reads one JSON object from its standard input and says, one JSON object a line, as many tokens as its `hours` asks for.
// Freestanding: the three calls of WASI preview 1 that it makes are declared here, so any clang that knows wasm32 compiles it.

typedef unsigned int u32;
typedef unsigned char u8;

struct piece {
    const void *bytes;
    u32 length;
};

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
WASI("fd_read") extern u32 fd_read(u32 descriptor, const struct piece *pieces, u32 count, u32 *read);
WASI("fd_write") extern u32 fd_write(u32 descriptor, const struct piece *pieces, u32 count, u32 *written);
WASI("proc_exit") extern _Noreturn void proc_exit(u32 code);

enum { MOST = 100000, INPUT = 1 << 20 };

static u8 in[INPUT];
static u8 line[1024];
static u32 used;

static void say(const char *text) {
    while (*text) line[used++] = (u8)*text++;
}

static void number(u32 value) {
    u8 digits[10];
    u32 count = 0;
    do digits[count++] = (u8)('0' + value % 10);
    while (value /= 10);
    while (count > 0) line[used++] = digits[--count];
}

// Each line goes at once: whoever reads sees tokens as they come.
static void end(void) {
    line[used++] = '\n';
    u32 done = 0;
    while (done < used) {
        struct piece piece = {line + done, used - done};
        u32 written = 0;
        if (fd_write(1, &piece, 1, &written) != 0 || written == 0) proc_exit(1);
        done += written;
    }
    used = 0;
}

static u32 hours(u32 length) {
    static const char name[] = "\"hours\":";
    for (u32 at = 0; at + sizeof name - 1 < length; at++) {
        u32 same = 0;
        while (same < sizeof name - 1 && in[at + same] == (u8)name[same]) same++;
        if (same < sizeof name - 1) continue;
        u32 value = 0;
        for (at += same; at < length && in[at] >= '0' && in[at] <= '9' && value < MOST; at++) value = value * 10 + (in[at] - '0');
        return value > MOST ? MOST : value;
    }
    return 24;
}

void _start(void) {
    u32 length = 0, got = 0;
    do {
        struct piece piece = {in + length, INPUT - length};
        if (fd_read(0, &piece, 1, &got) != 0) proc_exit(1);
        length += got;
    } while (got > 0 && length < INPUT);
    u32 count = hours(length);
    say("{\"type\":\"status\",\"message\":\"tides of ");
    number(count);
    say(" hours\"}");
    end();
    for (u32 hour = 0; hour < count; hour++) {
        say("{\"type\":\"token\",\"content\":\"");
        say(hour % 12 < 6 ? "flood " : "ebb ");
        say("\"}");
        end();
        if (hour % 10 != 9) continue;
        say("{\"type\":\"progress\",\"step\":");
        number(hour + 1);
        say(",\"total\":");
        number(count);
        say("}");
        end();
    }
    say("{\"type\":\"image\",\"format\":\"png\",\"data\":\"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ");
    say("AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==\"}");
    end();
    say("{\"type\":\"done\"}");
    end();
    proc_exit(0);
}
