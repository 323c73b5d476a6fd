#include "CArchive.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

// The named function of the library. There is no way to go on without it: its callers hold no error of that kind.
static void *find(const char *name) {
  static void *library;
  void *opened = __atomic_load_n(&library, __ATOMIC_ACQUIRE);
  if (!opened) {
    // Two threads at once get the same library, counted twice.
    opened = dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
    if (opened) __atomic_store_n(&library, opened, __ATOMIC_RELEASE);
  }
  void *function = opened ? dlsym(opened, name) : NULL;
  if (function) return function;
  fprintf(stderr, "libarchive is missing or too old: install it (Debian: libarchive13)\n");
  abort();
}

#define FUNCTION(name)                                                                                                 \
  static __typeof__(&name) cached;                                                                                     \
  __typeof__(&name) function = __atomic_load_n(&cached, __ATOMIC_RELAXED);                                             \
  if (!function) {                                                                                                     \
    function = (__typeof__(&name))find(#name);                                                                         \
    __atomic_store_n(&cached, function, __ATOMIC_RELAXED);                                                             \
  }

// clang-format off
#define FORWARD0(type, name) type name(void) { FUNCTION(name) return function(); }
#define FORWARD1(type, name, a) type name(a one) { FUNCTION(name) return function(one); }
#define FORWARD2(type, name, a, b) type name(a one, b two) { FUNCTION(name) return function(one, two); }
#define FORWARD3(type, name, a, b, c) type name(a one, b two, c three) { FUNCTION(name) return function(one, two, three); }
#define FORWARD4(type, name, a, b, c, d)                                                                               \
  type name(a one, b two, c three, d four) { FUNCTION(name) return function(one, two, three, four); }
// clang-format on

typedef struct archive *reader;
typedef struct archive_entry *entry;

FORWARD0(reader, archive_read_new)
FORWARD1(int, archive_read_free, reader)
FORWARD2(int, archive_read_append_filter, reader, int)
FORWARD1(int, archive_read_support_filter_gzip, reader)
FORWARD1(int, archive_read_support_filter_all, reader)
FORWARD1(int, archive_read_support_format_tar, reader)
FORWARD1(int, archive_read_support_format_raw, reader)
FORWARD1(int, archive_read_support_format_all, reader)
FORWARD2(int, archive_read_set_options, reader, const char *)
FORWARD3(int, archive_read_open_fd, reader, int, size_t)
FORWARD3(int, archive_read_open_memory, reader, const void *, size_t)
FORWARD2(int, archive_read_next_header, reader, entry *)
FORWARD4(int, archive_read_data_block, reader, const void **, size_t *, la_int64_t *)
FORWARD1(const char *, archive_error_string, reader)

FORWARD0(reader, archive_write_new)
FORWARD1(int, archive_write_free, reader)
FORWARD1(int, archive_write_close, reader)
FORWARD1(int, archive_write_add_filter_gzip, reader)
FORWARD1(int, archive_write_set_format_raw, reader)
FORWARD2(int, archive_write_set_bytes_in_last_block, reader, int)
FORWARD2(int, archive_write_set_options, reader, const char *)
FORWARD2(int, archive_write_open_fd, reader, int)
FORWARD2(int, archive_write_header, reader, entry)
FORWARD3(la_ssize_t, archive_write_data, reader, const void *, size_t)

FORWARD0(entry, archive_entry_new)
FORWARD1(void, archive_entry_free, entry)
FORWARD1(__LA_MODE_T, archive_entry_filetype, entry)
FORWARD2(void, archive_entry_set_filetype, entry, unsigned int)
FORWARD1(__LA_MODE_T, archive_entry_perm, entry)
FORWARD1(la_int64_t, archive_entry_size, entry)
FORWARD1(int, archive_entry_sparse_count, entry)
FORWARD1(const char *, archive_entry_pathname, entry)
FORWARD1(const char *, archive_entry_pathname_utf8, entry)
FORWARD1(const char *, archive_entry_hardlink, entry)
FORWARD1(const char *, archive_entry_hardlink_utf8, entry)
FORWARD1(const char *, archive_entry_symlink, entry)
FORWARD1(const char *, archive_entry_symlink_utf8, entry)
