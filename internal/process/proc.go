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

// processID identifies a process uniquely: process IDs are reused, but not with the same start time in one boot.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since the boot
	Boot  string `json:"boot"`
}

// unknownExitCode is the exit code of a process that ended without being this process's child.
const unknownExitCode = -1

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// identify returns the unique identification of a child that has not been waited for.
func identify(pid int, boot string) (processID, error) {
	s, err := statOf(pid)
	if err != nil {
		return processID{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return processID{PID: pid, Start: s.Starttime, Boot: boot}, nil
}

// exitStatus reports whether the process has ended and, if so, its exit code: 128 plus the signal for one that a signal
// killed, unknownExitCode when it was not this process's child. It kills the group of a child that has ended, and reaps it.
func (p processID) exitStatus(boot string) (code int, ended bool) {
	if p.Boot != boot {
		return unknownExitCode, true
	}
	s, err := statOf(p.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH):
		return unknownExitCode, true
	case err != nil:
		return 0, false // not known: too many open files, for example
	case s.Starttime != p.Start:
		return unknownExitCode, true
	case s.State != "Z" && s.State != "X":
		return 0, false
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL) // the group keeps its number until its leader is reaped
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(p.PID, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // the child of another process
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
		_ = syscall.Kill(-p.PID, sig) // it may end at any time, which its watcher sees
	}
}

// statOf reads the kernel's status of a process; see proc_pid_stat(5).
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
