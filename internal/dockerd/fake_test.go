package dockerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/system"

	"berth/internal/pki"
)

// machine is a host without privileges: a tree of files, an engine that is a web server, and programs that are functions.
type machine struct {
	root, certs string
	listen      netip.AddrPort
	version     string              // what dockerd --version prints
	rules       map[string]bool     // of the firewall
	chains      map[string]string   // of the firewall, with their rules as "iptables -S" prints them, by program and name
	order       map[string][]string // rules that were inserted, by program and chain
	ran         []string            // command lines, in order
	fail        map[string]error    // command lines that fail, by how they begin
	interfaces  map[string]string   // by address
	lax         bool                // the engine asks no client for a certificate
	info        system.Info
	networks    string // of sessions, as the engine lists them
	named       string // networks that the engine finds by name
	servers     []io.Closer
}

// exitError is the error of a failed program.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitError) ExitCode() int { return int(e) }

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{
		certs: filepath.Join(t.TempDir(), "certs"), networks: "[]", named: "[]", version: "Docker version 20.10.24+dfsg1, build 5d6db84\n",
		rules: map[string]bool{}, chains: map[string]string{}, order: map[string][]string{}, fail: map[string]error{}, interfaces: map[string]string{"127.0.0.1": "lo"},
	}
	// A socket's path holds 107 characters.
	root, err := os.MkdirTemp("", "bm") //nolint:usetesting // its path is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	m.root = root
	t.Cleanup(func() {
		m.stop()
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	if _, err := pki.Init(m.certs, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.listen = netip.MustParseAddrPort(free.Addr().String())
	free.Close()
	put(t, root, "/var/run/.keep", "")
	put(t, root, "/etc/docker/daemon.json", "{}\n")
	put(t, root, "/etc/init.d/docker", "")
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) host() Host {
	return Host{
		Root: m.root, Run: m.run, Dial: (&net.Dialer{}).DialContext, Now: time.Now,
		Interface: func(a netip.Addr) (string, error) { return m.interfaces[a.String()], nil },
	}
}

func (m *machine) setup(t *testing.T) *Setup {
	t.Helper()
	o := material(t, m.certs)
	o.Listen, o.Timeout = []netip.AddrPort{m.listen}, 300*time.Millisecond
	s, err := New(m.host(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (m *machine) run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	m.ran = append(m.ran, line)
	for begin, err := range m.fail {
		if strings.HasPrefix(line, begin) {
			return "", err
		}
	}
	switch {
	case strings.HasSuffix(line, "dockerd --version"):
		return m.version, nil
	case name == "iptables" || name == "ip6tables":
		rule := Rule{Program: name, Chain: args[2], Match: args[3:]}.String()
		switch args[1] {
		case "-S":
			rules, there := m.chains[name+" "+args[2]]
			if !there && args[2] != "INPUT" && args[2] != "FORWARD" {
				return "", exitError(1)
			}
			return rules + strings.Join(m.order[name+" "+args[2]], ""), nil
		case "-X":
			delete(m.chains, name+" "+args[2])
		case "-C":
			if !m.rules[rule] {
				return "", exitError(1)
			}
		case "-I":
			m.rules[rule] = true
			at := name + " " + args[2]
			m.order[at] = append([]string{"-A " + strings.Join(args[2:], " ") + "\n"}, m.order[at]...)
		case "-D":
			delete(m.rules, rule)
			at, gone := name+" "+args[2], "-A "+strings.Join(args[2:], " ")+"\n"
			m.order[at] = slices.DeleteFunc(m.order[at], func(r string) bool { return r == gone })
		}
	case strings.HasSuffix(line, " COMMIT"): // iptables-restore, by a shell
		for _, chain := range []string{InputChain, ForwardChain} {
			m.chains[args[3]+" "+chain] = "-N " + chain + "\n"
			for _, rule := range args {
				if strings.HasPrefix(rule, "-A "+chain) {
					m.chains[args[3]+" "+chain] += rule + "\n"
				}
			}
		}
	case line == "service docker restart":
		return "", m.start()
	case line == "service docker stop":
		m.stop()
	}
	return "", nil
}

func (m *machine) stop() {
	for _, s := range m.servers {
		s.Close()
	}
	m.servers = nil
	_ = os.Remove(filepath.Join(m.root, "/var/run/docker.sock"))
}

// start serves as daemon.json says, as far as a set-up writes it.
func (m *machine) start() error {
	m.stop()
	var config struct {
		Hosts                      []string
		TLSCACert, TLSCert, TLSKey string
		Broken                     bool
	}
	data, err := os.ReadFile(filepath.Join(m.root, "/etc/docker/daemon.json"))
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil || config.Broken {
		return errors.Join(err, exitError(1))
	}
	if len(config.Hosts) == 0 {
		config.Hosts = []string{"unix://" + filepath.Join(m.root, "/var/run/docker.sock")}
	}
	handler := http.NewServeMux()
	handler.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	handler.HandleFunc("GET /v1.41/networks", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Query().Get("filters"), `"name"`) {
			_, _ = io.WriteString(w, m.named)
			return
		}
		_, _ = io.WriteString(w, m.networks)
	})
	handler.HandleFunc("GET /v1.41/info", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(m.info) })
	for _, h := range config.Hosts {
		network, address := endpointOf(h)
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		if socket, ok := l.(*net.UnixListener); ok {
			// Its name may be the next one's by the time that it is closed.
			socket.SetUnlinkOnClose(false)
		}
		m.servers = append(m.servers, l)
		if network == "tcp" {
			pair, err := tls.LoadX509KeyPair(config.TLSCert, config.TLSKey)
			if err != nil {
				return err
			}
			ca, err := os.ReadFile(config.TLSCACert)
			if err != nil {
				return err
			}
			c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: x509.NewCertPool(), ClientAuth: tls.RequireAndVerifyClientCert}
			c.ClientCAs.AppendCertsFromPEM(ca)
			if m.lax {
				c.ClientAuth = tls.VerifyClientCertIfGiven
			}
			l = tls.NewListener(l, c)
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		m.servers = append(m.servers, server)
		go func() { _ = server.Serve(l) }()
	}
	return nil
}

// state is what a set-up may change, without sockets.
func (m *machine) state(t *testing.T) map[string]string {
	t.Helper()
	state := tree(t, m.root)
	delete(state, "/var/run/docker.sock")
	delete(state, "/var/run")
	for rule := range m.rules {
		state[rule] = ""
	}
	for chain, rules := range m.chains {
		state[chain] = rules
	}
	return state
}
