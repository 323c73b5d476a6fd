// The launch plan as bytes: what the supervisor decided, in the order in which it is carried out.
//
// Little-endian 32-bit words. Header: magic, bytes in all, number of steps. Step: operation, bytes of
// payload, payload. A payload is a row of fields: a number is one word, a long number two (low first),
// a text or blob its length and its bytes, padded to a word; a text's length counts its closing zero.
// `LaunchPlan+Bytes.swift` writes it; the operation numbers there and here are the same.
#ifndef LONGSHORE_PLAN_H
#define LONGSHORE_PLAN_H

#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC 0x3150534cu /* "LSP1" */

// Descriptors that the supervisor hands over, by number.
enum { FD_PLAN = 3, FD_ERROR = 4, FD_STATUS = 5, FD_CONTROL = 6, FD_EXTRA = 7 };

enum operation {
    OP_OPEN = 1,
    OP_EXPECT_DEVICE = 2,
    OP_AWAIT = 3,
    OP_BECOME = 4,
    OP_MOUNT = 5,
    OP_BIND = 6,
    OP_DIRECTORY = 7,
    OP_FILE = 8,
    OP_SYMLINK = 9,
    OP_ENTER = 10,
    OP_PIVOT = 11,
    OP_MASK = 12,
    OP_READ_ONLY = 13,
    OP_ENTER_NETWORK = 14,
    OP_HOSTNAME = 15,
    OP_UNSHARE = 16,
    OP_RLIMIT = 17,
    OP_DROP_CAPABILITIES = 18,
    OP_NO_NEW_PRIVILEGES = 19,
    OP_LANDLOCK = 20,
    OP_FORK = 21,
    OP_SESSION = 22,
    OP_OOM_SCORE = 23,
    OP_CLOSE_DESCRIPTORS = 24,
    OP_SECCOMP = 25,
    OP_EXEC = 26,
    OP_INHERIT = 27,
    OP_LISTEN = 28,
    OP_OVERLAY = 29,
    OP_JOIN = 30,
    OP_MAKE_NETWORK = 31,
};

// Reads fields of one payload in order. A plan that ends too early stops the launch with EBADMSG.
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    int broken;
};

static inline uint32_t read_number(struct reader *in) {
    if (in->end - in->at < 4) {
        in->broken = 1;
        return 0;
    }
    uint32_t value = *(const uint32_t *)(const void *)in->at;
    in->at += 4;
    return value;
}

static inline uint64_t read_long(struct reader *in) {
    uint64_t low = read_number(in);
    return low | (uint64_t)read_number(in) << 32;
}

static inline const void *read_blob(struct reader *in, uint32_t *length) {
    uint32_t bytes = read_number(in);
    uint32_t padded = (bytes + 3) & ~3u;
    if (in->broken || padded < bytes || (size_t)(in->end - in->at) < padded) {
        in->broken = 1;
        *length = 0;
        return NULL;
    }
    const void *start = in->at;
    in->at += padded;
    *length = bytes;
    return start;
}

// Never NULL: a broken plan gives an empty text.
static inline const char *read_text(struct reader *in) {
    uint32_t length;
    const char *text = read_blob(in, &length);
    if (!text || length == 0 || text[length - 1] != 0) {
        in->broken = 1;
        return "";
    }
    return text;
}

#endif
