#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "quota.h"
#include <errno.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#define PROJECT_QUOTA 2

static int control(int fd, unsigned int command, uint32_t project, void *argument) {
  return (int)syscall(SYS_quotactl_fd, fd, QCMD(command, PROJECT_QUOTA), project, argument);
}

int clinux_quota_join(int folder, uint32_t project) {
  struct fsxattr attributes;
  if (ioctl(folder, FS_IOC_FSGETXATTR, &attributes) != 0) return -1;
  attributes.fsx_projid = project;
  attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
  return ioctl(folder, FS_IOC_FSSETXATTR, &attributes);
}

int clinux_quota_limit(int folder, uint32_t project, uint64_t bytes, uint64_t entries) {
  struct if_dqblk limit;
  memset(&limit, 0, sizeof limit);
  limit.dqb_bhardlimit = (bytes + 1023) / 1024;
  limit.dqb_ihardlimit = entries;
  limit.dqb_valid = QIF_LIMITS;
  // Where it is not enforced there is nothing to set: the file system keeps accounts alone, or none.
  struct if_dqinfo information;
  if (control(folder, Q_GETINFO, 0, &information) != 0) return -1;
  return control(folder, Q_SETQUOTA, project, &limit);
}

int64_t clinux_quota_used(int folder, uint32_t project) {
  struct if_dqblk use;
  if (control(folder, Q_GETQUOTA, project, &use) != 0) return -1;
  return (int64_t)use.dqb_curspace;
}
