package process

import (
	"os"

	"golang.org/x/sys/unix"
)

// waitExit returns when the process has ended, when closing is closed, or at once when the kernel cannot report its end. It
// does not poll, also for processes that are not children of this one.
func (p processID) waitExit(boot string, closing <-chan struct{}) {
	if p.Boot != boot {
		return
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return // an old kernel, no free descriptor, or it has ended
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if s, err := statOf(p.PID); err != nil || s.Starttime != p.Start {
		return // the descriptor may be another process's
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	done := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-closing:
			_ = file.Close() // ends the wait
		case <-done:
		}
	}()
	_ = conn.Read(func(uintptr) bool { return isReadable(fd) })
	close(done)
	<-watching
}

// isReadable reports whether a descriptor is readable, which for a process means that it has ended.
func isReadable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err == unix.EINTR {
			continue
		}
		return n > 0 || err != nil
	}
}
