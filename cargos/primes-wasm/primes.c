// Prints the primes below its first argument (100 without one), a line each, and on standard error how many there were.
// Freestanding: the four calls of WASI preview 1 that it makes are declared here, so any clang that knows wasm32 compiles it.

typedef unsigned int u32;
typedef unsigned char u8;

struct ciovec {
    const void *bytes;
    u32 length;
};

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
WASI("args_sizes_get") extern u32 args_sizes_get(u32 *count, u32 *bytes);
WASI("args_get") extern u32 args_get(u8 **pointers, u8 *bytes);
WASI("fd_write") extern u32 fd_write(u32 descriptor, const struct ciovec *pieces, u32 count, u32 *written);
WASI("proc_exit") extern _Noreturn void proc_exit(u32 code);

enum { MOST = 10000000, ARGUMENTS = 4096, WORDS = 64 };

static u8 composite[MOST];
static u8 out[1 << 16];
static u32 used;

static void flush(u32 descriptor) {
    u32 done = 0;
    while (done < used) {
        struct ciovec piece = {out + done, used - done};
        u32 written = 0;
        if (fd_write(descriptor, &piece, 1, &written) != 0 || written == 0) proc_exit(1);
        done += written;
    }
    used = 0;
}

static void number(u32 value) {
    u8 digits[10];
    u32 count = 0;
    do digits[count++] = (u8)('0' + value % 10);
    while (value /= 10);
    if (used + count + 1 > sizeof out) flush(1);
    while (count > 0) out[used++] = digits[--count];
    out[used++] = '\n';
}

static void say(const char *text) {
    while (*text) out[used++] = (u8)*text++;
}

void _start(void) {
    static u8 *words[WORDS];
    static u8 bytes[ARGUMENTS];
    u32 count = 0, size = 0, limit = 100;
    if (args_sizes_get(&count, &size) != 0 || count > WORDS || size > ARGUMENTS || args_get(words, bytes) != 0) proc_exit(2);
    if (count > 1) {
        limit = 0;
        for (u8 *digit = words[1]; *digit; digit++) {
            if (*digit < '0' || *digit > '9' || (limit = limit * 10 + (*digit - '0')) > MOST) {
                say("primes: give a number up to 10000000\n");
                flush(2);
                proc_exit(2);
            }
        }
    }
    u32 found = 0;
    for (u32 candidate = 2; candidate < limit; candidate++) {
        if (composite[candidate]) continue;
        found++;
        number(candidate);
        if (candidate < 3200)
            for (u32 multiple = candidate * candidate; multiple < limit; multiple += candidate) composite[multiple] = 1;
    }
    flush(1);
    number(found);
    used--;
    say(" primes\n");
    flush(2);
    proc_exit(0);
}
