package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/internal/session"
)

// marker is the environment variable with the container's ID. The processes that the server starts inherit it.
const marker = "BERTH_CONTAINER"

// maxLog is the size above which a log is emptied at the next start, in bytes.
const maxLog = 16 << 20

// Start implements session.Runtime.
func (r *Runtime) Start(ctx context.Context, ref string) error {
	c, err := r.enterWith(ctx, "start", ref)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.removed:
		return notFound(ref)
	case c.run != nil:
		return nil
	case c.credential == "":
		return session.Errorf(session.CodeStartFailed, "container %s was made by an earlier process of Berth, and its credential is not stored; remove it and create it again", c.name)
	}
	if err := r.launch(c); err != nil {
		c.record.Fault = session.MessageOf(err)
		return errors.Join(err, c.save())
	}
	r.events.emit(c, session.ActionStarted, 0)
	r.watch(c, c.run)
	return nil
}

// launch starts the process and records it. Call it with the container's lock held.
func (r *Runtime) launch(c *container) error {
	program, err := r.program(c.record.Profile)
	if err != nil { // it was found when the container was made
		return session.Errorf(session.CodeStartFailed, "%s", session.MessageOf(err)).Because(err)
	}
	if err := r.makeVolumes(c.name, c.record.Profile); err != nil {
		return err
	}
	if err := r.prepareHome(c); err != nil {
		return err
	}
	r.makeRepository(c)
	log, err := openLog(c.logFile())
	if err != nil {
		return failure("open the log of "+c.name, err)
	}
	defer log.Close() // the process has a copy
	port, err := r.reservePort()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, r.arguments(c, port)...) //nolint:noctx // no context may end it: it keeps running when Berth stops
	cmd.Env = environment(c, program)
	cmd.Dir = r.volumeDir(c.name, session.WorkspaceVolume)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		r.releasePort(port)
		return session.Errorf(session.CodeStartFailed, "the server could not be started: %v", err).Because(err)
	}
	process, err := identify(cmd.Process.Pid, r.boot)
	if err == nil {
		err = c.recordStart(process, port)
	}
	if err != nil { // a process that is not recorded would be lost
		r.releasePort(port)
		return errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	c.run = &run{process: process, ended: make(chan struct{})}
	return cmd.Process.Release() // it is watched by its ID, like those of an earlier Berth
}

// recordStart records that the container's process runs.
func (c *container) recordStart(process processID, port int) error {
	before := c.record
	c.record.Process, c.record.Port = &process, port
	c.record.StartedAt = time.Now().UTC()
	c.record.ExitCode, c.record.Fault = 0, ""
	if err := c.save(); err != nil {
		c.record = before
		return err
	}
	return nil
}

// ignoreExit drops the error of a process that was killed.
func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// command returns the command to run, with its placeholders.
func (r *Runtime) command(profile session.Profile) []string {
	if len(r.opts.Command) > 0 {
		return r.opts.Command
	}
	return profile.Command
}

// program returns the absolute path of the server's program, as found with Berth's own PATH.
func (r *Runtime) program(profile session.Profile) (string, error) {
	command := r.command(profile)
	if len(command) == 0 {
		return "", session.Errorf(session.CodeImageNotFound, "the profile has no command, which the process runtime needs")
	}
	path, err := exec.LookPath(command[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", session.Errorf(session.CodeImageNotFound, "the program %q is not installed; install it, or use the Docker runtime", command[0]).Because(err)
	}
	return path, nil
}

// arguments fills in the placeholders of the command. The credential is not among them: arguments are public.
func (r *Runtime) arguments(c *container, port int) []string {
	pairs := []string{"{port}", strconv.Itoa(port)}
	for _, v := range c.record.Profile.Volumes {
		pairs = append(pairs, "{"+v.Name+"}", r.volumeDir(c.name, v.Name))
	}
	fill := strings.NewReplacer(pairs...)
	var args []string
	for _, a := range r.command(c.record.Profile)[1:] {
		args = append(args, fill.Replace(a))
	}
	return args
}

// environment returns the server's environment, which has none of Berth's variables.
func environment(c *container, program string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + filepath.Dir(program),
		"HOME=" + c.home(),
		"TMPDIR=" + c.tmp(),
		"SHELL=/bin/sh",
		"LANG=C.UTF-8",
	}
	for _, name := range slices.Sorted(maps.Keys(c.record.Profile.Env)) {
		env = append(env, name+"="+c.record.Profile.Env[name])
	}
	for _, name := range c.record.Profile.PasswordVariables() {
		env = append(env, name+"="+c.credential.Reveal())
	}
	return append(env, marker+"="+c.id)
}

func openLog(name string) (*os.File, error) {
	mode := os.O_APPEND | os.O_CREATE | os.O_WRONLY
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		mode |= os.O_TRUNC
	}
	return os.OpenFile(name, mode, 0o600)
}

// reservePort finds a port that is free now and reserved for no other container. Another program may still take it before the
// server does: then the server ends, and its next start gets another one.
func (r *Runtime) reservePort() (int, error) {
	const attempts = 100
	var fault error
	for range attempts {
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			fault = err
			break
		}
		address, _ := listener.Addr().(*net.TCPAddr)
		_ = listener.Close()
		if r.claimPort(address.Port) {
			return address.Port, nil
		}
	}
	return 0, session.Errorf(session.CodePortTaken, "there is no free port on 127.0.0.1").
		Because(cmp.Or(fault, fmt.Errorf("%d attempts found only reserved ports", attempts)))
}

func (r *Runtime) claimPort(port int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ports[port] {
		return false
	}
	r.ports[port] = true
	return true
}

func (r *Runtime) releasePort(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ports, port)
}
