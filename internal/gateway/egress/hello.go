package egress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// Numbers of TLS (RFC 8446, and IANA's registry of extensions).
const (
	recordAlert      = 21
	recordHandshake  = 22
	recordChange     = 20 // change_cipher_spec
	messageHello     = 1  // client_hello
	recordHeader     = 5
	messageHeader    = 4
	maxRecord        = 1 << 14
	extensionName    = 0
	extensionECH     = 0xfe0d
	extensionESNI    = 0xffce // of drafts before ECH
	nameTypeHost     = 0
	alertHandshake   = 40
	alertAccess      = 49
	alertDecode      = 50
	alertInternal    = 80
	alertName        = 112 // unrecognized_name
	alertLevelFatal  = 2
	versionTLS12High = 3
	versionTLS12Low  = 3
)

var (
	errNotTLS = errors.New("not a TLS handshake")
	errHello  = errors.New("malformed ClientHello")
)

// hello is what a ClientHello says about where it goes.
type hello struct {
	name string // the server name, as it was sent; empty: there is none
	ech  bool   // a part of it is encrypted
}

// readHello reads a ClientHello that may be spread over many records. It returns all bytes that were read, which end with the last
// record of the message, and the message. It reads at most maxHello bytes; the bytes are returned with an error, too.
func readHello(r io.Reader) (raw, message []byte, err error) {
	raw = make([]byte, 0, 2048)
	for {
		start := len(raw)
		raw = append(raw, make([]byte, recordHeader)...)
		if n, err := io.ReadFull(r, raw[start:]); err != nil {
			return raw[:start+n], nil, cut(err)
		}
		head := raw[start:]
		size := int(binary.BigEndian.Uint16(head[3:]))
		if head[0] != recordHandshake || head[1] != 3 || size == 0 || size > maxRecord {
			return raw, nil, errNotTLS
		}
		if len(raw)+size > maxHello {
			return raw, nil, fmt.Errorf("%w: larger than %d bytes", errHello, maxHello)
		}
		raw = append(raw, make([]byte, size)...)
		start += recordHeader
		if n, err := io.ReadFull(r, raw[start:]); err != nil {
			return raw[:start+n], nil, cut(err)
		}
		message = append(message, raw[start:]...)
		if message[0] != messageHello {
			return raw, nil, fmt.Errorf("%w: another message comes first", errHello)
		}
		if len(message) < messageHeader {
			continue
		}
		want := messageHeader + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
		switch {
		case want > maxHello:
			return raw, nil, fmt.Errorf("%w: larger than %d bytes", errHello, maxHello)
		case len(message) > want:
			return raw, nil, fmt.Errorf("%w: something follows in its record", errHello)
		case len(message) == want:
			return raw, message, nil
		}
	}
}

// cut is the error of a client that has sent less than a ClientHello.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", errNotTLS)
	}
	return err
}

// parseHello reads a ClientHello with its message header. It refuses what servers could read in two ways: an extension twice, more
// than one server name, bytes that belong to nothing.
func parseHello(message []byte) (hello, error) {
	s := cryptobyte.String(message)
	var body cryptobyte.String
	var kind uint8
	if !s.ReadUint8(&kind) || kind != messageHello || !s.ReadUint24LengthPrefixed(&body) || !s.Empty() {
		return hello{}, errHello
	}
	var session, suites, compressions, extensions cryptobyte.String
	if !body.Skip(2+32) || !body.ReadUint8LengthPrefixed(&session) || len(session) > 32 ||
		!body.ReadUint16LengthPrefixed(&suites) || len(suites) == 0 || len(suites)%2 != 0 ||
		!body.ReadUint8LengthPrefixed(&compressions) || compressions.Empty() {
		return hello{}, errHello
	}
	if body.Empty() {
		return hello{}, nil // without extensions
	}
	if !body.ReadUint16LengthPrefixed(&extensions) || !body.Empty() {
		return hello{}, errHello
	}
	var h hello
	seen := map[uint16]bool{}
	for !extensions.Empty() {
		var number uint16
		var data cryptobyte.String
		if !extensions.ReadUint16(&number) || !extensions.ReadUint16LengthPrefixed(&data) || seen[number] {
			return hello{}, errHello
		}
		seen[number] = true
		switch number {
		case extensionName:
			name, ok := serverName(data)
			if !ok {
				return hello{}, errHello
			}
			h.name = name
		case extensionECH, extensionESNI:
			h.ech = true
		}
	}
	return h, nil
}

// serverName reads the extension server_name with exactly one name.
func serverName(data cryptobyte.String) (string, bool) {
	var list, name cryptobyte.String
	var kind uint8
	ok := data.ReadUint16LengthPrefixed(&list) && data.Empty() &&
		list.ReadUint8(&kind) && kind == nameTypeHost && list.ReadUint16LengthPrefixed(&name) && list.Empty() && !name.Empty()
	return string(name), ok
}

// alert is a fatal TLS alert, as a record.
func alert(description byte) []byte {
	return []byte{recordAlert, versionTLS12High, versionTLS12Low, 0, 2, alertLevelFatal, description}
}
