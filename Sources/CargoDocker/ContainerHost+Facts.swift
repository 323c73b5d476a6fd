internal import Glibc

extension ContainerHost {
    /// Facts of this process and this host.
    init(engine: Engine.Kind, isRootless: Bool, jobUser: UInt32?) {
        self.init(
            engine: engine, isRootless: isRootless, cores: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))),
            hardOpenFiles: ContainerHost.hardLimit(7), hardProcesses: ContainerHost.hardLimit(6),
            user: getuid(), group: getgid())
        if let jobUser { self.jobUser = jobUser }
    }

    /// RLIMIT_NPROC is 6 and RLIMIT_NOFILE 7 on Linux; Swift sees the names of neither.
    private static func hardLimit(_ resource: Int32) -> UInt64 {
        var limit = rlimit()
        return getrlimit(__rlimit_resource_t(resource), &limit) == 0 ? UInt64(limit.rlim_max) : 1024
    }
}
