package config

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/internal/engineaddr"
)

// resolve fills in the settings that depend on other settings, on the user, or on existing files.
func (c *Config) resolve(getenv func(string) string, root bool) {
	if c.Server.StateDir == "" {
		c.Server.StateDir = defaultStateDir(getenv, root)
	}
	if ext := filepath.Ext(c.Log.File); c.Log.AuditFile == "" && c.Log.File != "" {
		c.Log.AuditFile = strings.TrimSuffix(c.Log.File, ext) + "-audit" + ext
	}
	d := &c.Docker
	if d.Host == "" {
		d.Host = d.defaultHost()
	}
	if d.CACert == "" {
		d.CACert = filepath.Join(d.CertPath, "ca.pem")
	}
	if d.ClientCert == "" {
		d.ClientCert = existing(d.CertPath, "client-cert.pem", "cert.pem")
	}
	if d.ClientKey == "" {
		d.ClientKey = existing(d.CertPath, "client-key.pem", "key.pem")
	}
}

// defaultHost is the endpoint when DOCKER_HOST is not set.
func (d Docker) defaultHost() string {
	return engineaddr.ForTCP(d.HostIP, strconv.Itoa(d.TLSPort))
}

// existing is the path of the second name if only that file exists, and of the first in every other case.
func existing(dir, name, alias string) string {
	first, second := filepath.Join(dir, name), filepath.Join(dir, alias)
	if _, err := os.Stat(first); err == nil {
		return first
	}
	if _, err := os.Stat(second); err == nil {
		return second
	}
	return first
}

// defaultStateDir follows the XDG base directory specification, which ignores relative paths. It is empty for
// a user without a home.
func defaultStateDir(getenv func(string) string, root bool) string {
	if root {
		return "/var/lib/berth"
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "berth")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "berth")
	}
	return ""
}
