#ifndef CCURL_H
#define CCURL_H
#include <stddef.h>
#include <stdint.h>

// libcurl, loaded at first use: a program that transfers nothing neither needs the library nor pays for it.
// Every handle belongs to one thread at a time; ccurl_multi_wake may come from any.

// NULL when libcurl is here, else what is wrong. The first call loads it; thread-safe.
const char *ccurl_load(void);
// The library's version, after a successful ccurl_load.
const char *ccurl_version(void);

// Which addresses a connection may go to. Proxies are addresses too.
enum ccurl_addresses {
  ccurl_any_address = 0,
  // No loopback, private, link-local, shared, reserved or multicast address, in any IPv6 disguise.
  ccurl_public_addresses = 1,
  // Private ones too, but no link-local one (metadata services) and no multicast.
  ccurl_local_addresses = 2,
};

// Takes a piece of the answer; returns 0 to stop the request.
typedef int (*ccurl_take)(const void *bytes, size_t count, void *context);

struct ccurl_options {
  const char *url;
  int64_t first;      // bytes of the range, both ends included
  int64_t last;
  const char *bearer; // or NULL; sent to the host of `url`, as no redirect is followed
  const char *agent;
  const char *ca_file; // or NULL: the library's own
  const char *ca_path; // or NULL
  long connect_ms;
  long stall_seconds;  // slower than stall_rate for this long is a failure
  long stall_rate;     // bytes a second
  int addresses;       // enum ccurl_addresses
  ccurl_take head;     // one header line a call
  ccurl_take body;
  void *context;
};

// What the end of a request means to whoever decides about another try.
enum ccurl_end { ccurl_done = 0, ccurl_broken = 1, ccurl_hopeless = 2, ccurl_stopped = 3, ccurl_address_refused = 4 };

void *ccurl_multi_new(int connections);
void ccurl_multi_free(void *multi);
void ccurl_multi_wake(void *multi);
// Moves all requests on, then waits for the network, a wake or the time. 0, or -1 when the library failed.
int ccurl_multi_step(void *multi, int wait_ms);
// The next request that ended, or NULL. It is out of the multi handle then.
void *ccurl_multi_ended(void *multi, enum ccurl_end *end);

// The strings of `options` are copied. NULL when memory is short.
void *ccurl_get_new(void *multi, const struct ccurl_options *options);
// Ends a request at any moment.
void ccurl_get_free(void *multi, void *get);
void *ccurl_get_context(void *get);
long ccurl_get_status(void *get);
// Where a 3xx answer leads to, absolute; valid until the request is freed.
const char *ccurl_get_redirect(void *get);
// The address that was connected to, or "".
const char *ccurl_get_address(void *get);
// The library's sentence about the end.
const char *ccurl_get_problem(void *get);

// 0 public, 1 private, 2 link-local or multicast or unusable, -1 no address.
int ccurl_address_class(const char *text);

// --- One request to an object store, signed with AWS's Signature Version 4, on the calling thread

struct ccurl_object {
  const char *url;
  const char *method;    // GET, HEAD, PUT, DELETE
  const char *signature; // such as aws:amz:us-east-1:s3
  const char *user;      // ACCESS:SECRET
  const char *token;     // session token, or NULL
  const char *sha256;    // of the body, in hexadecimal
  const char *ca_file;   // or NULL
  const char *ca_path;   // or NULL
  int upload;            // descriptor that the body is read from, from its start; -1 none
  int64_t size;          // of the body
  int64_t first;         // bytes of a range, both ends included; -1 none
  int64_t last;
  long connect_ms;
  long stall_seconds;
  ccurl_take body;       // bytes of the answer
  void *context;
};

// A connection that is kept between requests; NULL when memory is short.
void *ccurl_session_new(void);
void ccurl_session_free(void *session);
// Sets the answer's status and length (-1 unknown), and a sentence (256 bytes) where the request failed.
enum ccurl_end ccurl_object_perform(
    void *session, const struct ccurl_object *object, long *status, int64_t *length, char *problem);
#endif
