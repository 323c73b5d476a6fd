#ifndef CLINUX_QUOTA_H
#define CLINUX_QUOTA_H
// Project quotas of a file system (quotactl_fd(2), FS_IOC_FSSETXATTR). Functions return what the kernel returns:
// a value, or -1 with errno set.
#include <stdint.h>

// Everything made below the folder from now on belongs to the project.
int clinux_quota_join(int folder, uint32_t project);
// The hard limits of a project on the folder's file system, or -1 where none are enforced there; 0 lifts a limit.
int clinux_quota_limit(int folder, uint32_t project, uint64_t bytes, uint64_t entries);
// Bytes that a project has on the folder's file system.
int64_t clinux_quota_used(int folder, uint32_t project);

#endif
