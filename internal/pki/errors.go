package pki

import (
	"errors"
	"fmt"
	"io/fs"
)

// The faults of certificate files; every FileError wraps one of these or an error of the operating system.
var (
	ErrMissing     = errors.New("file is missing")
	ErrMalformed   = errors.New("not the expected PEM")
	ErrMismatch    = errors.New("the private key does not match the certificate")
	ErrExpired     = errors.New("certificate has expired")
	ErrNotYetValid = errors.New("certificate is not valid yet")
	ErrUntrusted   = errors.New("certificate was not signed by the authority beside it")
	ErrWrongKind   = errors.New("certificate is of the wrong kind")
	ErrWrongHosts  = errors.New("certificate does not cover a requested host")
	ErrIncomplete  = errors.New("set of certificates is incomplete")
	ErrLocked      = errors.New("another process is writing certificates here")
	ErrExists      = errors.New("file is there already")
	ErrRevoked     = errors.New("certificate was revoked")
	ErrPin         = errors.New("certificate is none of the pinned ones")
	ErrListSigner  = errors.New("revocation list was not signed by an authority beside it")
	ErrOlderList   = errors.New("revocation list is older than the one in force")
	ErrNoList      = errors.New("revocation list is missing")
	ErrExposed     = errors.New("others than the owner can change the certificates")
	ErrKeyExposed  = errors.New("every user can read the key")
	ErrUnknown     = errors.New("no certificate of this directory")
	ErrNoHosts     = errors.New("needs the host names or addresses that clients connect to: give at least one host")
)

const (
	adviceInit        = `run "berth certs init"`
	adviceForce       = `run "berth certs init --force" to replace the whole set`
	adviceRenew       = `run "berth certs renew", or "berth certs init --force" to replace the whole set`
	adviceRevoke      = `put it back from a backup, or begin a new one with "berth certs revoke --force"`
	adviceForgotten   = `put it back from a backup or from where the authority's key is; there is no record here of what was revoked. "berth certs init --forget-revocations" begins an empty list there, and every revoked certificate is admitted again`
	adviceAuthority   = `run this where the authority's key is, or name it with --ca-key`
	adviceInterrupted = `an earlier command was interrupted: run "berth certs init" to complete it`
	adviceHosts       = `leave the host out to keep the set as it is, or run "berth certs init --force" to replace the whole set, the authority and every client's certificate included`
	advicePermission  = "run as the user who owns the file, or give that user read permission"
)

// adviceList is the remedy for a lost list of dir. It works without the flags with which the set was made.
func adviceList(dir string) string {
	return fmt.Sprintf(`"berth certs init --dir %s" recreates it from the records and changes nothing else, where the authority's key is; elsewhere copy crl.pem from there`, dir)
}

// FileError names a faulty file, the fault and its remedy.
type FileError struct {
	Path   string
	Err    error
	Advice string // may be empty
}

func (e *FileError) Error() string {
	if e.Advice == "" {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Path, e.Err, e.Advice)
}

func (e *FileError) Unwrap() error { return e.Err }

// Reason returns the fault of a file, without its name and the advice.
func Reason(err error) error {
	if file, ok := errors.AsType[*FileError](err); ok {
		err = file.Err
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		err = file.Err
	}
	return err
}

// unusable returns the error for an unusable file of a set.
func unusable(path string, err error) *FileError {
	return &FileError{Path: path, Err: err, Advice: advice(path, adviceForce)}
}

// advise replaces the advice of a FileError.
func advise(err error, advice string) error {
	if file, ok := errors.AsType[*FileError](err); ok {
		return &FileError{Path: file.Path, Err: file.Err, Advice: advice}
	}
	return err
}

// Warning is a fault that should be corrected but does not prevent use. Code is stable and from a closed set.
type Warning struct {
	Code string `json:"code"`
	Path string `json:"path"`
	Text string `json:"text"`
}

// The warning codes.
const (
	WarnKeyReadable   = "key-readable-by-others"
	WarnUntrustedLeaf = "certificate-of-another-authority"
	WarnInterrupted   = "change-interrupted"
	WarnExpiresSoon   = "certificate-expires-soon"
	WarnLongLife      = "certificate-lives-long"
	WarnAuthorityEnds = "authority-ends-first"
	WarnRevoked       = "certificate-revoked"
	WarnListMissing   = "revocation-list-missing"
	WarnListOverdue   = "revocation-list-overdue"
	WarnOpenDirectory = "certificates-writable-by-others"
	WarnRotating      = "rotation-not-finished"
)
