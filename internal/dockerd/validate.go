package dockerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"berth/internal/atomicfile"
)

// firstValidating is the first major version of the engine that validates a configuration without starting.
const firstValidating = 23

var engineVersion = regexp.MustCompile(`\bversion v?(\d+)\.`)

// validates reports whether the engine's program can validate a configuration.
func (s *Setup) validates(ctx context.Context, engine string) (bool, error) {
	text, err := s.host.Run(ctx, engine, "--version")
	if err != nil {
		return false, refuse("run this on the engine's own machine", "ask %s for its version: %w", engine, err)
	}
	m := engineVersion.FindStringSubmatch(text)
	if m == nil {
		return false, nil
	}
	major, err := strconv.Atoi(m[1])
	return err == nil && major >= firstValidating, nil
}

// validate checks a configuration before the engine reads it: by the engine itself where it can, and our own part of it by
// the checks below.
func (s *Setup) validate(ctx context.Context, plan *Plan, config []byte) error {
	d, err := parseDocument(config)
	if err != nil {
		return err
	}
	if err := checkTypes(d); err != nil {
		return err
	}
	if err := checkHosts(d); err != nil {
		return err
	}
	if err := s.checkInstalled(); err != nil {
		return err
	}
	if !plan.newer {
		return nil
	}
	dir, err := os.MkdirTemp("", "berth-validate-*")
	if err != nil {
		return err
	}
	// A failure only leaves a file in the system's temporary directory.
	defer func() { _ = os.RemoveAll(dir) }()
	candidate := filepath.Join(dir, "daemon.json")
	if err := atomicfile.Write(candidate, config, 0o600, ""); err != nil {
		return err
	}
	_, err = s.host.Run(ctx, plan.engine, "--validate", "--config-file", candidate)
	return err
}

// checkTypes finds values of the wrong kind under keys that a set-up knows, such as one that was there before and stays.
func checkTypes(d document) error {
	for _, known := range settings(paths{}, []string{""}) {
		raw := d.raw(known.key)
		if raw == nil {
			continue
		}
		value := reflect.New(reflect.TypeOf(known.value))
		if err := json.Unmarshal(raw, value.Interface()); err != nil || string(raw) == "null" {
			return fmt.Errorf("the value of %q is not of its kind: %s", known.key, raw)
		}
	}
	return nil
}

func checkHosts(d document) error {
	hosts, err := d.strings("hosts")
	if err != nil {
		return err
	}
	for _, h := range hosts {
		scheme, address, found := strings.Cut(h, "://")
		if !found || scheme != "fd" && address == "" || scheme != "fd" && scheme != "unix" && scheme != "tcp" {
			return fmt.Errorf("%q in hosts is no address that the engine can listen on", h)
		}
	}
	return nil
}

// checkInstalled reads the certificates where the engine will.
func (s *Setup) checkInstalled() error {
	if _, err := tls.LoadX509KeyPair(s.paths.cert, s.paths.key); err != nil {
		return fmt.Errorf("installed server certificate: %w", err)
	}
	ca, err := os.ReadFile(s.paths.ca)
	if err != nil {
		return fmt.Errorf("installed authority: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return errors.New("installed authority: no certificate in it")
	}
	return nil
}
