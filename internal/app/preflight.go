package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/internal/config"
	"berth/internal/engineaddr"
	"berth/internal/pki"
	"berth/internal/servertls"
	"berth/internal/storage"
)

// Preflight checks the files that the settings name: certificates, state directory, log files. It returns the joined faults
// that would keep Berth from starting, and the warnings. It changes nothing and contacts no other machine.
func Preflight(cfg config.Config) (warnings []string, err error) {
	var faults []error
	if engine, err := engineaddr.ParseTCP(cfg.Docker.Host); err == nil && cfg.Session.Runtime == config.RuntimeDocker {
		_, found, err := pki.OpenClient(clientPaths(cfg.Docker), pki.ClientOptions{ServerName: engine.Host, NoVerify: !cfg.Docker.TLSVerify})
		faults = append(faults, err)
		for _, w := range found {
			warnings = append(warnings, fmt.Sprintf("%s: %s", w.Path, w.Text))
		}
	}
	for _, pair := range keyPairs(cfg.Server) {
		if _, err := servertls.Load(pair); err != nil {
			faults = append(faults, fmt.Errorf("the listener's certificate (BERTH_TLS_CERT, BERTH_TLS_KEY): %w", err))
		}
	}
	faults = append(faults, checkStateDir(cfg.Server.StateDir))
	if cfg.Log.FileEnabled {
		for _, file := range []string{cfg.Log.File, cfg.Log.AuditFile} {
			if err := writable(filepath.Dir(file)); err != nil {
				faults = append(faults, fmt.Errorf("the log file %s cannot be written; set LOG_FILE, or LOG_FILE_ENABLED=false: %w", file, err))
			}
		}
	}
	return warnings, errors.Join(faults...)
}

func clientPaths(d config.Docker) pki.Paths {
	return pki.ClientPaths(d.CertPath, pki.Paths{CA: d.CACert, Cert: d.ClientCert, Key: d.ClientKey})
}

// checkStateDir returns the error that [storage.OpenDir] would, without making the directory.
func checkStateDir(dir string) error {
	switch _, err := os.Stat(dir); {
	case err == nil:
		if err := storage.CheckPrivate(dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("stat the state directory: %w", err)
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("the state directory %s cannot be written; set BERTH_STATE_DIR to another directory: %w", dir, err)
	}
	return nil
}

// writable returns why no file can be created in a directory, or in its nearest existing parent.
func writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			if err != nil {
				return &fs.PathError{Op: "write to", Path: dir, Err: err}
			}
			return nil
		}
		dir = parent
	}
}
