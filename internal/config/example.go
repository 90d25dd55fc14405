package config

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
)

const exampleIntro = `# Generated from internal/config/settings.go by "go generate ./internal/config"; do not edit.
#
# All settings, each with its default. For docker compose, copy this file to
# docker/.env (it is not kept in git) and remove the # from the settings that you
# change. A name without a value is unset. Under systemd settings are in
# /etc/berth/berth.yaml, which every command reads; docs/configuration.md has the
# keys.
`

// exampleOutro has the variables that are not settings of "berth serve".
const exampleOutro = `
## Other commands
#
# They read these from their own environment, on the host.

# berth session: address of Berth, and file with the admin token.
#BERTH_URL=http://127.0.0.1:8080
#BERTH_ADMIN_TOKEN_FILE=

# berth guard: address to listen on, and the engine's own socket.
#BERTH_GUARD_LISTEN=tcp://127.0.0.1:2376
#BERTH_GUARD_SOCKET=/var/run/docker.sock

# berth certs init: name for which the engine's certificate is valid, and days that certificates are valid (unset: 3650 for the
# authority, 90 for the others). DOCKER_HOST_IP is its address, by default 127.0.0.1 in development and test.
#DOCKER_HOST_NAME=localhost
#DAYS=
`

// WriteExample writes all settings as a file of environment variables, each commented out and with its default.
func WriteExample(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(exampleIntro)
	err := walk(func(area reflect.Type, text string) {
		fmt.Fprintf(&b, "\n## %s\n#\n", title(area.Name()))
		comment(&b, text)
	}, func(field reflect.StructField, value, text string) {
		b.WriteByte('\n')
		comment(&b, text)
		fmt.Fprintf(&b, "#%s=%s\n", field.Tag.Get("env"), value)
	})
	if err != nil {
		return err
	}
	b.WriteString(exampleOutro)
	_, err = w.Write(b.Bytes())
	return err
}

// comment writes Markdown of the documentation as plain comment lines.
func comment(b *bytes.Buffer, markdown string) {
	const width = 100
	line := "#"
	for word := range strings.FieldsSeq(strings.NewReplacer("`", "", `\|`, "|").Replace(markdown)) {
		if len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
