package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Host is the machine as a Setup sees it. All fields are required but Root.
type Host struct {
	// Root is put before every path; empty means the real one. Whatever runs the engine must do the same.
	Root string
	// Run runs a program to its end and returns its output. When the program ran and failed, the error has a method
	// ExitCode.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Dial opens a connection as a program on this machine would.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Interface names the network interface that has an address; "" when none has.
	Interface func(netip.Addr) (string, error)
	Now       func() time.Time
}

// Machine is the machine that this program runs on.
func Machine() Host {
	return Host{Run: runProgram, Dial: (&net.Dialer{}).DialContext, Interface: interfaceOf, Now: time.Now}
}

// paths are the files that are read or written, all below the root.
type paths struct {
	dockerDir, config, journal string
	certDir, ca, cert, key     string
	dropIn                     string
	systemd                    string // a directory that is there when systemd runs the machine
	script                     string // of sysvinit
	defaults                   string // DOCKER_OPTS for the script
	socket                     string // where the engine listens by default
	resolvConf                 string // name servers, which containers inherit
}

func (h Host) path(p string) string { return filepath.Join("/", h.Root, p) }

func (h Host) paths() paths {
	return paths{
		dockerDir: h.path("/etc/docker"),
		config:    h.path("/etc/docker/daemon.json"),
		// Only root may write here, and root acts on its content.
		journal: h.path("/etc/docker/berth-setup-tls.json"),
		certDir: h.path("/etc/docker/certs"),
		ca:      h.path("/etc/docker/certs/ca.pem"),
		cert:    h.path("/etc/docker/certs/server-cert.pem"),
		key:     h.path("/etc/docker/certs/server-key.pem"),
		// The last name in the alphabet wins over the override.conf of "systemctl edit".
		dropIn:   h.path("/etc/systemd/system/docker.service.d/zz-berth-tls.conf"),
		systemd:  h.path("/run/systemd/system"),
		script:   h.path("/etc/init.d/docker"),
		defaults: h.path("/etc/default/docker"),
		socket:   h.path("/var/run/docker.sock"),

		resolvConf: h.path("/etc/resolv.conf"),
	}
}

// maxOutput is how much of a program's output is kept, from the end: where the reason of a failure stands.
const maxOutput = 4 << 10

// runProgram collects the output in a file, not through a pipe: a daemon that the program leaves behind inherits it, and
// would hold a pipe open, or be killed by SIGPIPE once it is closed.
func runProgram(ctx context.Context, name string, args ...string) (string, error) {
	output, err := os.CreateTemp("", "berth-run-*")
	if err != nil {
		return "", fmt.Errorf("run %s: %w", name, err)
	}
	defer output.Close()
	if err := os.Remove(output.Name()); err != nil {
		return "", fmt.Errorf("run %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = output, output
	runErr := cmd.Run()
	end, err := output.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("read what %s printed: %w", name, err)
	}
	text, err := io.ReadAll(io.NewSectionReader(output, max(0, end-maxOutput), maxOutput))
	if err != nil {
		return "", fmt.Errorf("read what %s printed: %w", name, err)
	}
	if runErr != nil {
		return string(text), &runError{program: name, output: strings.TrimSpace(string(text)), err: runErr}
	}
	return string(text), nil
}

// runError is a failed program with its output.
type runError struct {
	program, output string
	err             error
}

func (e *runError) Error() string {
	if e.output == "" {
		return fmt.Sprintf("%s: %v", e.program, e.err)
	}
	return fmt.Sprintf("%s: %v: %s", e.program, e.err, e.output)
}

func (e *runError) Unwrap() error { return e.err }

// exitCode is the exit code in err; false when the program did not exit by itself.
func exitCode(err error) (int, bool) {
	var failed interface {
		error
		ExitCode() int
	}
	if errors.As(err, &failed) {
		return failed.ExitCode(), failed.ExitCode() >= 0
	}
	return 0, false
}

func interfaceOf(addr netip.Addr) (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("look at the network interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return "", fmt.Errorf("look at the addresses of %s: %w", i.Name, err)
		}
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			if err == nil && (prefix.Addr() == addr.WithZone("") || addr.IsLoopback() && prefix.Addr().IsLoopback() && prefix.Contains(addr)) {
				return i.Name, nil
			}
		}
	}
	return "", nil
}
