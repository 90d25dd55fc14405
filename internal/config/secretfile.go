package config

import (
	"os"
	"strings"

	"berth/internal/session"
)

// readSecret reads the secret that a setting may have in a file instead, which a setting with _FILE behind its name names. Line
// breaks at the end of the file do not belong to the secret.
func readSecret(secret *session.Secret, variable, file string) []Fault {
	if file == "" {
		return nil
	}
	fault := Fault{Variable: variable + "_FILE", Value: file}
	if *secret != "" {
		fault.Problem = "contradicts " + variable + ": set one of the two"
		return []Fault{fault}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		fault.Problem = reason(err)
		return []Fault{fault}
	}
	*secret = session.Secret(strings.TrimRight(string(text), "\r\n"))
	if *secret == "" {
		fault.Problem = "is empty: it must hold the secret"
		return []Fault{fault}
	}
	return nil
}
