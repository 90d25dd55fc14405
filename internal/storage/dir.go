package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/atomicfile"
	"berth/internal/fileowner"
)

// Files of the state directory.
const (
	adminTokenFile    = "admin-token"              // of the operator
	tokenSecretFile   = "token-secret"             // SESSION_TOKEN_SECRET=auto
	instanceFile      = "instance"                 // names this installation on the engine
	newFile           = "new-installation"         // time at which that name was created; removed when no sessions on the engine can be lost ones of this installation
	addressFile       = "address"                  // URL of the Berth that serves from this directory, while it does
	certificateFile   = "address-certificates.pem" // that the same Berth shows at that address; only if it speaks TLS
	acmeDir           = "acme"                     // accounts, keys and certificates that were obtained
	nodeFile          = "node"                     // identifies this process on the database
	storeFile         = "sessions.json"
	backendFile       = "storage-backend"              // which backend has the sessions of this installation
	copyFile          = "database-copy.json"           // the last known sessions of the database
	pendingFile       = "database-pending.json"        // the journal of changes; only while the database is unavailable
	waitingTokensFile = "platform-tokens-pending.json" // platform tokens that the database does not have yet
	ownerFile         = "engine-owner"                 // which database the containers belong to; for a start without it
	usageDir          = "usage"                        // what sessions used of models, by day
	usagePendingFile  = "usage-pending.json"           // what calls used, which the database does not have yet
	placeFile         = "process-owner"                // which directory the processes of the process runtime belong to
	portsFile         = "session-ports"                // which session has which port
	processDir        = "process"                      // of the process runtime
)

// PortsFile returns where it is kept which session has which port.
func (d Dir) PortsFile() string { return d.path(portsFile) }

// AdminTokenFile returns where a generated admin token is kept.
func AdminTokenFile(stateDir string) string { return filepath.Join(stateDir, adminTokenFile) }

// InstanceOf returns the name of the installation of a state directory; "" if there is none or it cannot be read.
func InstanceOf(stateDir string) string { return textOf(stateDir, instanceFile) }

// Dir is the state directory, readable by its owner only.
type Dir string

// OpenDir creates the directory if it is missing.
func OpenDir(dir string) (Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create the state directory; set BERTH_STATE_DIR to a writable path: %w", err)
	}
	return Dir(dir), CheckPrivate(dir)
}

// CheckPrivate returns an error if other users have access to a directory.
func CheckPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("the state directory %s holds secrets and is open to others (mode %04o); run chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// AddressOf returns the local URL of the Berth on a state directory; "" if none is running or the file cannot be read. A Berth
// that was killed leaves its last address behind.
func AddressOf(stateDir string) string { return textOf(stateDir, addressFile) }

func textOf(stateDir, name string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// AddressFile is where [Dir.PublishAddress] writes.
func (d Dir) AddressFile() string { return d.path(addressFile) }

// PublishAddress writes the URL of this process, for the command line on this machine.
func (d Dir) PublishAddress(url string) error {
	return d.write(addressFile, []byte(url+"\n"))
}

// WithdrawAddress removes the file of [Dir.PublishAddress].
func (d Dir) WithdrawAddress() error { return atomicfile.Remove(d.AddressFile()) }

// CertificatesOf returns what [Dir.PublishCertificates] has written; empty if there is nothing, or it cannot be read.
func CertificatesOf(stateDir string) []byte {
	text, err := os.ReadFile(filepath.Join(stateDir, certificateFile))
	if err != nil {
		return nil
	}
	return text
}

// CertificatesFile is where [Dir.PublishCertificates] writes.
func (d Dir) CertificatesFile() string { return d.path(certificateFile) }

// PublishCertificates writes the certificates of this process's listener in PEM, for the command line on this machine.
func (d Dir) PublishCertificates(text []byte) error {
	return d.write(certificateFile, text)
}

// ACME is the directory of the accounts, keys and certificates that Berth obtains itself.
func (d Dir) ACME() string { return d.path(acmeDir) }

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

// keep returns the text of a file, which is created once from generate. Two processes that create it at the same time get the
// same text.
func (d Dir) keep(name string, generate func() string) (string, error) {
	path := d.path(name)
	text, err := d.read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if err := atomicfile.Create(path, []byte(generate()+"\n"), ownerOnly, string(d)); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return d.read(path)
}

// peek returns the text of a file, "" if there is none.
func (d Dir) peek(name string) (string, error) {
	text, err := d.read(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return text, err
}

// replace replaces the text of a file, and keeps the old file beside it.
func (d Dir) replace(name, text string) error {
	path := d.path(name)
	if err := os.Rename(path, path+".replaced"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the old %s: %w", path, err)
	}
	_, err := d.keep(name, func() string { return text })
	return err
}

// write writes a file, unless that is what it contains: a start must not fail on a full disk.
func (d Dir) write(name string, text []byte) error {
	path := d.path(name)
	if known, err := os.ReadFile(path); err == nil && bytes.Equal(known, text) {
		return os.Chmod(path, ownerOnly)
	}
	return atomicfile.Write(path, text, ownerOnly, string(d))
}

// put writes the text of a file; "" removes it.
func (d Dir) put(name, text string) error {
	path := d.path(name)
	var err error
	if text != "" {
		err = d.write(name, []byte(text+"\n"))
	} else if err = atomicfile.Remove(path); err == nil {
		err = atomicfile.SyncDir(string(d))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (d Dir) read(path string) (string, error) {
	text, err := os.ReadFile(path)
	if remedy := fileowner.Remedy(err, path); remedy != "" {
		return "", fmt.Errorf("%w; %s", err, remedy)
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s holds a secret and is open to others (mode %04o); run chmod 600 %s, and replace it if others may have read it", path, mode, path)
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", fmt.Errorf("%s is empty; restore it from a backup, or remove it to have a new one created", path)
	}
	return strings.TrimSpace(string(text)), nil
}
