// Every step of a launch: one function a kind, each returning 0 or a negative errno.
#ifndef LONGSHORE_STEPS_H
#define LONGSHORE_STEPS_H

#include "plan.h"

// mounts.c
long step_open(struct reader *in);
long step_inherit(struct reader *in);
long step_expect_device(struct reader *in);
long step_mount(struct reader *in);
long step_bind(struct reader *in);
long step_directory(struct reader *in);
long step_file(struct reader *in);
long step_symlink(struct reader *in);
long step_enter(struct reader *in);
long step_pivot(struct reader *in);
long step_overlay(struct reader *in);
long step_mask(struct reader *in);
long step_read_only(struct reader *in);

// confine.c
long step_join(struct reader *in);
long await_word(char expected);
long step_await(struct reader *in);
long step_become(struct reader *in);
long step_make_network(struct reader *in);
long step_enter_network(struct reader *in);
long step_listen(struct reader *in);
long step_hostname(struct reader *in);
long step_unshare(struct reader *in);
long step_rlimit(struct reader *in);
long step_drop_capabilities(struct reader *in);
long step_no_new_privileges(struct reader *in);
long step_landlock(struct reader *in);
long step_session(struct reader *in);
long step_oom_score(struct reader *in);
long step_close_descriptors(struct reader *in);
long step_seccomp(struct reader *in);
long step_exec(struct reader *in);

// supervise.c: pid 1's life after the command was started; does not return.
_Noreturn void supervise(int command);
_Noreturn void leave(int code);

#endif
