package config

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"strings"
)

//go:embed settings.go
var settingsSource []byte

const docsIntro = `# Configuration

<!-- Generated from internal/config/settings.go by "go generate ./internal/config"; do not edit. -->

Settings come from four sources; the later one takes precedence:

1. the defaults below;
2. a YAML file, named by ` + "`--config`" + ` or ` + "`BERTH_CONFIG`" + `, or else ` + "`/etc/berth/berth.yaml`" + ` if it exists, with the keys below (` + "`server.listen`" + ` is ` + "`listen:`" + ` under ` + "`server:`" + `);
3. environment variables;
4. flags of the command line (` + "`berth serve --help`" + `); secrets have none, because command lines can be read by everyone.

An empty value counts as not set. A value that cannot be read, is out of range or contradicts another one, and a key
that does not exist, prevent the start with one message that lists every fault: no setting falls back to its default
silently. ` + "`berth config check`" + ` lists the faults, ` + "`berth config show`" + ` the effective settings, with secrets redacted.

Times are seconds (` + "`10`" + `, ` + "`10.0`" + `) or durations (` + "`1m30s`" + `); sizes are written as Docker writes them (` + "`512m`, `4g`" + `),
` + "`k`" + ` being 1024 bytes.
`

const docsOutro = `
## Other commands

` + "`berth session`" + ` calls a running Berth:

| Variable | Flag | Default | Meaning |
|---|---|---|---|
| ` + "`BERTH_URL` | `--url` | `http://127.0.0.1:8080`" + ` | Address of Berth. |
| ` + "`BERTH_ADMIN_TOKEN_FILE` | `--token-file` | `admin-token` in `BERTH_STATE_DIR`" + ` | File with the admin token. |
| ` + "`BERTH_ADMIN_TOKEN`" + ` | – | – | The admin token itself, when no file is named. |

` + "`berth guard`" + ` reads ` + "`DOCKER_CERT_PATH`, `LOG_LEVEL` and `LOG_FORMAT`" + ` as above, and:

| Variable | Flag | Default | Meaning |
|---|---|---|---|
| ` + "`BERTH_GUARD_LISTEN` | `--listen` | `tcp://127.0.0.1:2376`" + ` | Address to listen on. |
| ` + "`BERTH_GUARD_SOCKET` | `--socket` | `/var/run/docker.sock`" + ` | The engine's own socket. |

` + "`berth certs init`" + ` reads ` + "`DOCKER_CERT_PATH` and `DOCKER_ENV`" + ` as above, and:

| Variable | Flag | Default | Meaning |
|---|---|---|---|
| ` + "`DOCKER_HOST_IP` | `--host-ip` | `127.0.0.1`" + ` in development and test | Address for which the engine's certificate is valid. |
| ` + "`DOCKER_HOST_NAME` | `--host-name` | `localhost`" + ` in development and test | Name for which the engine's certificate is valid. |
| ` + "`DAYS` | `--days` | `3650`" + ` for the authority, ` + "`90`" + ` for the others | Days that certificates are valid. |

## Model providers

A provider is a service with models that all sessions may use, with a key that only Berth has. Providers are under
` + "`models.providers:`" + ` in the configuration file, by name. The names ` + "`anthropic`, `openai` and `google`" + ` are kinds too, and need no more
than a key: their base URL and a few models are known, and replaced by what you set.

` + "```yaml" + `
models:
  model: local/qwen3-coder
  small_model: local/qwen3-coder
  providers:
    anthropic:
      key_file: /etc/berth/keys/anthropic # mode 0600; read again when it changes. Or key_env: NAME, or key: TEXT
    local:
      kind: openai-compatible # or openai, anthropic, google
      base_url: http://10.0.0.5:8000/v1 # https, except in private networks
      key_env: LOCAL_KEY
      models: # the only ones that sessions may use, by their names at the provider
        qwen3-coder:
          name: Qwen3 Coder # for people
          context: 262144 # tokens of a conversation
          output: 32768 # tokens of an answer
          images: false # whether it takes images and PDF files
          reasoning: false
          price: {input: 0, cached_input: 0, output: 0} # per million tokens
      server_tools: false # whether the provider may run tools itself, such as a web search: a way around a session's list
      remote_urls: false # whether it may fetch addresses in requests: the same
      parameters: [] # members of request bodies that Berth does not know and passes on
` + "```" + `

## Git hosts

Sessions reach the git hosts under ` + "`git`" + ` through the gateway, which adds the credential: no session sees it. Of several entries the first
one counts that fits the host, the path (without ` + "`.git`; `team/*` is one level, `team/**` everything below" + `) and the owner of the session. Without
one that fits, a host that is named is fetched from without a credential. See [models-and-egress.md](models-and-egress.md).

` + "```yaml" + `
git:
  - host: github.com
    paths: [team/*]                 # default: all
    owners: [ann]                   # default: all
    username: x-access-token        # default: git
    token_file: /etc/berth/github   # or token; read again when it changes
    push: true                      # default: fetch only
  - host: git.internal
    base_url: http://10.0.0.5:3000/ # default: https://HOST/
    token_file: /etc/berth/git
` + "```" + `

## Budgets

What owners and sessions may use of models. Periods are those of the calendar in UTC: a minute, a day, a month. A limit that is missing
or 0 is none; a budget under ` + "`owners`" + ` replaces that of ` + "`owner`" + ` as a whole. Sessions that nobody owns share no budget: their own one limits
them. The section is read again when Berth reloads its configuration.

` + "```yaml" + `
budgets:
  currency: USD # of prices and of money: text only
  owner: # of every owner
    requests_per_minute: 60
    tokens_per_day: 5000000 # of prompts and answers, cached ones included
    money_per_month: 50 # by the prices of models
  owners:
    alice: {tokens_per_day: 20000000, money_per_month: 200}
  session: # of every session
    requests_per_minute: 30
` + "```" + `

## Lists of hosts

What sessions with ` + "`egress: listed`" + ` reach: the hosts of lists, which a profile names in ` + "`egress_allow`" + `, together with rules of its own. The lists
` + "`packages`" + ` (registries; the default) and ` + "`forges`" + ` (git hosts, where anybody can write) are built in. See
[models-and-egress.md](models-and-egress.md).

` + "```yaml" + `
egress:
  lists:
    ours:
      - docs.example.com # on ports 443 and 80
      - "*.example.com:8443" # every name below example.com, and one port
      - db.example.com:5432
  private: # addresses that are not public are reached only here, and by names or networks of a list
    - 10.1.2.0/24:5432
profiles:
  opencode: # a profile of the file replaces the built-in one as a whole
    egress_allow: [packages, ours, api.example.org:443]
` + "```" + `

## Image profiles

An image profile defines what a server image needs: port, user, probe, credential, directories. Profiles are under
` + "`profiles:`" + ` in the configuration file, by name; one with the name of a built-in profile replaces it as a whole.
` + "`BERTH_PROFILE`" + ` selects one. The built-in profile ` + "`opencode2`" + ` is for OpenCode 2.x, by its published sources; its image is yours to
build. This is the built-in profile ` + "`opencode`" + `:

` + "```yaml" + `
profiles:
  opencode:
`

// walk calls area for each area of settings and setting for each setting in it, in the order of their fields, with the text
// of their comments.
func walk(area func(t reflect.Type, text string), setting func(field reflect.StructField, value, text string)) error {
	comments, err := describe()
	if err != nil {
		return err
	}
	defaults := Default()
	for v := range defaults.areas() {
		d := comments[v.Type().Name()]
		area(v.Type(), d.text)
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.Tag.Get("env") != "-" {
				setting(field, defaultText(field, v.Field(i)), d.fields[field.Name])
			}
		}
	}
	return nil
}

// WriteDocs writes the reference of all settings as Markdown.
func WriteDocs(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(docsIntro)
	var parent string // key of the area
	err := walk(func(area reflect.Type, text string) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| Variable | Key | Default | Meaning |\n|---|---|---|---|\n", title(area.Name()), text)
		parent = yamlKey(reflect.TypeFor[Config](), area.Name())
	}, func(field reflect.StructField, value, text string) {
		key := absent
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "-" {
			key = "`" + parent + "." + name + "`"
		}
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", field.Tag.Get("env"), key, cmp.Or(value, absent), text)
	})
	if err != nil {
		return err
	}
	b.WriteString(docsOutro)
	profile, err := profileFiles.ReadFile("profiles/opencode.yaml")
	if err != nil {
		return fmt.Errorf("read built-in profile: %w", err)
	}
	for line := range strings.Lines(string(profile)) {
		b.WriteString("    " + line)
	}
	b.WriteString("```\n")
	_, err = w.Write(b.Bytes())
	return err
}

// absent is printed for a missing default or key.
const absent = "–"

// defaultText is a default as written in the environment; it may be empty. No default is secret, so that of a secret setting
// is shown.
func defaultText(field reflect.StructField, value reflect.Value) string {
	text := fmt.Sprint(value.Interface())
	if value.Kind() == reflect.String {
		text = value.String()
	}
	return cmp.Or(field.Tag.Get("default"), text)
}

// description is the comment of a struct of settings and those of its fields, each as one line.
type description struct {
	text   string
	fields map[string]string
}

// describe reads the comments of the settings from their source, which is embedded in the program.
func describe() (map[string]description, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "settings.go", settingsSource, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read descriptions of settings: %w", err)
	}
	areas := map[string]description{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		spec := gen.Specs[0].(*ast.TypeSpec)
		fields := map[string]string{}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			fields[f.Names[0].Name] = oneLine(f.Doc.Text())
		}
		text := strings.TrimPrefix(oneLine(gen.Doc.Text()), spec.Name.Name+" ")
		areas[spec.Name.Name] = description{text: strings.ToUpper(text[:1]) + text[1:], fields: fields}
	}
	return areas, nil
}

func oneLine(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func yamlKey(t reflect.Type, field string) string {
	f, _ := t.FieldByName(field)
	return f.Tag.Get("yaml")
}

func title(area string) string {
	if area == "HTTPPool" {
		return "HTTP pool"
	}
	return area
}
