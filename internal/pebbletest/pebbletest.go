// Package pebbletest gives tests a real ACME authority, Pebble, that runs on this machine.
package pebbletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/porttest"
	"berth/internal/tlstest"
	"berth/internal/waittest"
)

// Authority is a running ACME server with the DNS server that it asks. Every name leads to this machine.
type Authority struct {
	URL  string // of its directory
	Root string // file with the authority of its own certificate
	DNS  string // address of the DNS server's management
}

// Start starts one whose challenges go to these ports, and whose certificates are valid for so long.
func Start(t testing.TB, httpPort, tlsPort int, validity time.Duration) Authority {
	t.Helper()
	programs := os.Getenv("BERTH_TEST_PEBBLE")
	if programs == "" {
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatal("BERTH_TEST_PEBBLE is not set")
		}
		t.Skip("needs Pebble: set BERTH_TEST_PEBBLE to the directory of pebble and pebble-challtestsrv")
	}
	ca, dir := tlstest.New(t), t.TempDir()
	cert, key := ca.Files(t, "127.0.0.1")
	at := func() string { return fmt.Sprintf("127.0.0.1:%d", porttest.Free(t)) }
	listen, manage, dns, dnsManage := at(), at(), at(), at()
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "certificate": cert, "privateKey": key,
		"httpPort": httpPort, "tlsPort": tlsPort, "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "a test's", "validityPeriod": int(validity.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := errors.Join(os.WriteFile(file, config, 0o600), atomicfile.Write(filepath.Join(dir, "root.pem"), ca.CertPEM(), 0o444, "")); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Join(programs, "pebble-challtestsrv"), "-dnsserver", dns, "-management", dnsManage, "-http01", "", "-https01", "", "-tlsalpn01", "",
		"-doh", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
	run(t, filepath.Join(programs, "pebble"), "-config", file, "-dnsserver", dns)
	for _, address := range []string{listen, dnsManage} {
		waittest.Until(t, address+" listens", func() error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	return Authority{URL: "https://" + listen + "/dir", Root: filepath.Join(dir, "root.pem"), DNS: "http://" + dnsManage}
}

// run runs a program until the test ends, and shows its output if the test has failed.
func run(t testing.TB, program string, args ...string) {
	t.Helper()
	var out output
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(program), out.String())
		}
	})
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
