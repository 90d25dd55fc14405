package git

import (
	"strconv"
	"strings"

	"berth/internal/session"
)

// Environment returns the variables with which every git in a container sends the URLs of these hosts to the gateway, and shows it the
// session's token. The URLs themselves stay as the user writes them, also in the configuration of clones. gatewayURL has no slash at its
// end.
func Environment(gatewayURL string, token session.Secret, hosts []string) map[string]string {
	env := map[string]string{}
	n := 0
	set := func(key, value string) {
		env["GIT_CONFIG_KEY_"+strconv.Itoa(n)], env["GIT_CONFIG_VALUE_"+strconv.Itoa(n)] = key, value
		n++
	}
	at := gatewayURL + Prefix
	for _, host := range hosts {
		key := "url." + at + host + "/.insteadOf"
		set(key, "https://"+host+"/")
		set(key, "ssh://git@"+host+"/")
		set(key, "ssh://"+host+"/")
		if !strings.Contains(host, ":") {
			set(key, "git@"+host+":")
		}
	}
	if n == 0 {
		return env
	}
	set("http."+at+".extraHeader", "Authorization: Bearer "+token.Reveal())
	set("http."+at+".proxy", "") // straight to it
	env["GIT_CONFIG_COUNT"] = strconv.Itoa(n)
	return env
}
