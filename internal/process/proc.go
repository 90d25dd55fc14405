package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
)

// processID names a process for good: process IDs are used again, but not with the same time of start in one boot.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since the boot
	Boot  string `json:"boot"`
}

// unknownExitCode is the exit code of a process whose end nobody has told us.
const unknownExitCode = -1

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// identify returns the full name of a child that has not been waited for.
func identify(pid int, boot string) (processID, error) {
	s, err := statOf(pid)
	if err != nil {
		return processID{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return processID{PID: pid, Start: s.Starttime, Boot: boot}, nil
}

// exitStatus reports whether the process has ended and, if so, its exit code: 128 and the signal for one that a signal ended,
// unknownExitCode when it was not this process's child. It buries a child that has ended, with all of its group.
func (p processID) exitStatus(boot string) (code int, ended bool) {
	if p.Boot != boot {
		return unknownExitCode, true
	}
	s, err := statOf(p.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH):
		return unknownExitCode, true
	case err != nil:
		return 0, false // we know nothing: too many open files, say
	case s.Starttime != p.Start:
		return unknownExitCode, true
	case s.State != "Z" && s.State != "X":
		return 0, false
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL) // the group keeps its number until its leader is buried
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(p.PID, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // another's child
			return unknownExitCode, true
		case pid == 0: // other threads are still running
			return 0, false
		case status.Signaled():
			return 128 + int(status.Signal()), true
		}
		return status.ExitStatus(), true
	}
}

// signal sends a signal to the process's group, if it is still the same process.
func (p processID) signal(boot string, sig syscall.Signal) {
	if s, err := statOf(p.PID); p.Boot == boot && err == nil && s.Starttime == p.Start {
		_ = syscall.Kill(-p.PID, sig) // it may end at any time: its watcher sees
	}
}

// statOf reads what the kernel tells of a process; see proc_pid_stat(5).
func statOf(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return p.Stat()
}

// markedProcesses returns the processes of every container, by container ID. Those that have cleared their environment
// or belong to another user are not found.
func markedProcesses() map[string]procfs.Procs {
	found := map[string]procfs.Procs{}
	all, err := procfs.AllProcs()
	if err != nil {
		return found
	}
	for _, p := range all {
		env, _ := p.Environ() // it may have ended
		for _, pair := range env {
			if id, ok := strings.CutPrefix(pair, marker+"="); ok {
				found[id] = append(found[id], p)
				break
			}
		}
	}
	return found
}

func kill(processes procfs.Procs) {
	for _, p := range processes {
		if p.PID != os.Getpid() { // Berth itself may run in a session
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
}
