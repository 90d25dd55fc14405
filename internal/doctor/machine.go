package doctor

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// listening is the state of a socket in /proc/net/tcp.
const listening = "0A"

// listeners reads the TCP sockets that are listened on from files of the form of /proc/net/tcp; one that is not there,
// as on a machine without IPv6, is left out.
func listeners(paths ...string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	read := 0
	for _, path := range paths {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		read++
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[3] != listening {
				continue
			}
			if l, ok := parseSocket(fields[1]); ok {
				all = append(all, l)
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	if read == 0 {
		return nil, fmt.Errorf("read sockets: %w", fs.ErrNotExist)
	}
	return all, nil
}

// parseSocket parses "0100007F:0948": 32-bit words in the machine's byte order, which is little-endian on all supported
// platforms, and the port.
func parseSocket(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.LittleEndian.Uint32(raw[i:]))
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip, uint16(number)), true
}

// firewallRules lists the rules of all firewall programs that are installed.
func firewallRules(ctx context.Context) (string, error) {
	var all strings.Builder
	var faults []error
	asked := 0
	for _, command := range [][]string{{"iptables-save"}, {"ip6tables-save"}, {"nft", "list", "ruleset"}} {
		program, err := find(command[0])
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, program, command[1:]...).Output()
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", command[0], err))
			continue
		}
		asked++
		all.Write(out)
		all.WriteByte('\n')
	}
	if asked == 0 {
		return "", errors.Join(append(faults, errors.New("neither iptables-save nor nft printed any"))...)
	}
	return all.String(), nil
}

// find also looks for a program in directories that an ordinary user's PATH lacks.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}
