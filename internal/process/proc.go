package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
	s, err := readStat(pid)
	if err != nil {
		return processID{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return processID{PID: pid, Start: s.start, Boot: boot}, nil
}

// exitStatus reports whether the process has ended and, if so, its exit code: 128 and the signal for one that a signal ended,
// unknownExitCode when it was not this process's child. It buries a child that has ended, with all of its group.
func (p processID) exitStatus(boot string) (code int, ended bool) {
	if p.Boot != boot {
		return unknownExitCode, true
	}
	s, err := readStat(p.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH):
		return unknownExitCode, true
	case err != nil:
		return 0, false // we know nothing: too many open files, say
	case s.start != p.Start:
		return unknownExitCode, true
	case s.state != 'Z' && s.state != 'X':
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
	if s, err := readStat(p.PID); p.Boot == boot && err == nil && s.start == p.Start {
		_ = syscall.Kill(-p.PID, sig) // it may end at any time: its watcher sees
	}
}

// stat is the part of /proc/<pid>/stat that matters here; see proc_pid_stat(5).
type stat struct {
	state   byte
	ticks   uint64 // of processor time, with that of children that were waited for
	threads int
	start   uint64
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// Fields of /proc/<pid>/stat, counted from the one after the program's name.
const (
	statState   = 0
	statUser    = 11
	statSystem  = 12
	statKidUser = 13
	statKidSys  = 14
	statThreads = 17
	statStart   = 19
)

// parseStat reads the fields after the program's name, which stands in parentheses and may itself have any character.
func parseStat(text []byte) (stat, error) {
	at := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[at+1:]))
	if at < 0 || len(fields) <= statStart || len(fields[statState]) != 1 {
		return stat{}, errors.New("the kernel's process status has not the form that is known")
	}
	var faults []error
	number := func(field int) uint64 {
		n, err := strconv.ParseUint(fields[field], 10, 63)
		faults = append(faults, err)
		return n
	}
	s := stat{
		state:   fields[statState][0],
		ticks:   number(statUser) + number(statSystem) + number(statKidUser) + number(statKidSys),
		threads: int(number(statThreads)),
		start:   number(statStart),
	}
	return s, errors.Join(faults...)
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// markedProcesses returns the processes of every container, by container ID. Those that have cleared their environment
// or belong to another user are not found.
func markedProcesses() map[string][]int {
	found := map[string][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return found
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(procFile(pid, "environ"))
		if err != nil {
			continue
		}
		for pair := range bytes.SplitSeq(env, []byte{0}) {
			if id, ok := bytes.CutPrefix(pair, []byte(marker+"=")); ok {
				found[string(id)] = append(found[string(id)], pid)
				break
			}
		}
	}
	return found
}

func kill(processes []int) {
	for _, pid := range processes {
		if pid != os.Getpid() { // Berth itself may run in a session
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
