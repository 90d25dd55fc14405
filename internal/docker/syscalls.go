package docker

// allowedCalls are the system calls that every session may make, whatever their arguments: what both the oldest engine that
// is supported and the newest ones allow to containers without capabilities. Names that an engine does not know are
// skipped by it.
var allowedCalls = []string{
	// Files.
	`_llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
	faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl
	fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
	fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init
	inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr llistxattr lremovexattr
	lseek lsetxattr lstat lstat64 memfd_create memfd_secret mkdir mkdirat mknod mknodat newfstatat open openat
	openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
	removexattr rename renameat renameat2 rmdir sendfile sendfile64 setxattr splice stat stat64 statfs statfs64
	statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime
	utimensat utimensat_time64 utimes vmsplice write writev`,
	// Waiting for several files.
	`_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
	eventfd eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit poll
	ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4 timerfd_create timerfd_gettime
	timerfd_gettime64 timerfd_settime timerfd_settime64`,
	// Sockets.
	`accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
	recvmsg send sendmmsg sendmsg sendto setsockopt shutdown`,
	// Memory.
	`brk madvise membarrier mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap msync munlock munlockall munmap
	process_mrelease remap_file_pages`,
	// Processes and their users.
	`capget capset execve execveat exit exit_group fork futex futex_time64 futex_waitv get_robust_list
	get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid
	getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage
	getsid gettid getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
	landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq sched_get_priority_max
	sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
	sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
	seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
	setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
	setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill times tkill ugetrlimit uname vfork wait4
	waitid waitpid`,
	// Signals and time.
	`adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
	clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep pause rt_sigaction rt_sigpending
	rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
	rt_tgsigqueueinfo setitimer sigaltstack sigprocmask sigreturn time timer_create timer_delete timer_getoverrun
	timer_gettime timer_gettime64 timer_settime timer_settime64`,
	// Messages between processes.
	`ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
	mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt
	shmget`,
}

// absentCalls fail as on a kernel that does not have them, so that programs fall back to older calls. The io_uring calls have
// had more vulnerabilities than the rest of the kernel together; the others are newer than the oldest supported engine.
var absentCalls = []string{
	`io_uring_setup io_uring_enter io_uring_register`,
	`clone3`, // its flags are in memory, which a filter cannot read
	`cachestat fchmodat2 futex_requeue futex_wait futex_wake getxattrat listmount listxattrat map_shadow_stack mseal
	pkey_alloc pkey_free pkey_mprotect removexattrat setxattrat statmount`,
}

// architectureCalls are allowed on some machines only, by the engine's name of the architecture.
var architectureCalls = map[string]string{
	"amd64": `arch_prctl modify_ldt`,
	"arm64": `arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls`,
}
