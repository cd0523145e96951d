package web

import (
	"path"
	"strings"
)

// The media types of files, by extension. The system's own tables are not asked: what is served
// does not change with what is installed. What is not here is a run of bytes, which browsers save.
func builtinType(ext string) string {
	switch ext {
	case ".html", ".htm":
		return "text/html; charset=utf-8"
	case ".txt", ".text", ".log", ".conf", ".cfg", ".ini", ".sh", ".bash", ".zsh", ".fish", ".c", ".h", ".cc", ".cpp", ".hpp",
		".go", ".rs", ".py", ".pl", ".rb", ".lua", ".java", ".diff", ".patch", ".tex", ".rst", ".asc", ".sum", ".sha256", ".pem":
		return "text/plain; charset=utf-8"
	case ".md", ".markdown":
		return "text/markdown; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".tsv":
		return "text/tab-separated-values; charset=utf-8"
	case ".ics":
		return "text/calendar; charset=utf-8"
	case ".vcf":
		return "text/vcard; charset=utf-8"
	case ".vtt":
		return "text/vtt; charset=utf-8"
	case ".json", ".map":
		return "application/json"
	case ".jsonl", ".ndjson":
		return "application/x-ndjson"
	case ".webmanifest":
		return "application/manifest+json"
	case ".xml", ".xsl", ".xsd":
		return "application/xml"
	case ".xhtml":
		return "application/xhtml+xml"
	case ".atom":
		return "application/atom+xml"
	case ".rss":
		return "application/rss+xml"
	case ".yaml", ".yml":
		return "application/yaml"
	case ".toml":
		return "application/toml"
	case ".wasm":
		return "application/wasm"
	case ".pdf":
		return "application/pdf"
	case ".zip":
		return "application/zip"
	case ".gz", ".tgz":
		return "application/gzip"
	case ".bz2":
		return "application/x-bzip2"
	case ".xz":
		return "application/x-xz"
	case ".zst":
		return "application/zstd"
	case ".7z":
		return "application/x-7z-compressed"
	case ".tar":
		return "application/x-tar"
	case ".deb":
		return "application/vnd.debian.binary-package"
	case ".rpm":
		return "application/x-rpm"
	case ".epub":
		return "application/epub+zip"
	case ".sqlite":
		return "application/vnd.sqlite3"
	case ".doc":
		return "application/msword"
	case ".docx":
		return "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	case ".xlsx":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case ".pptx":
		return "application/vnd.openxmlformats-officedocument.presentationml.presentation"
	case ".odt":
		return "application/vnd.oasis.opendocument.text"
	case ".ods":
		return "application/vnd.oasis.opendocument.spreadsheet"
	case ".ps", ".eps":
		return "application/postscript"
	case ".rtf":
		return "application/rtf"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".svg":
		return "image/svg+xml"
	case ".webp":
		return "image/webp"
	case ".avif":
		return "image/avif"
	case ".ico":
		return "image/vnd.microsoft.icon"
	case ".bmp":
		return "image/bmp"
	case ".tif", ".tiff":
		return "image/tiff"
	case ".jxl":
		return "image/jxl"
	case ".mp3":
		return "audio/mpeg"
	case ".ogg", ".oga", ".opus":
		return "audio/ogg"
	case ".flac":
		return "audio/flac"
	case ".wav":
		return "audio/wav"
	case ".m4a":
		return "audio/mp4"
	case ".mp4", ".m4v":
		return "video/mp4"
	case ".webm":
		return "video/webm"
	case ".ogv":
		return "video/ogg"
	case ".mkv":
		return "video/matroska"
	case ".mov":
		return "video/quicktime"
	case ".woff":
		return "font/woff"
	case ".woff2":
		return "font/woff2"
	case ".ttf":
		return "font/ttf"
	case ".otf":
		return "font/otf"
	}
	return "application/octet-stream"
}

// mediaType is the type of a file called name; types go before what is built in. Some names without an
// extension are known to be text.
func mediaType(name string, types map[string]string) string {
	ext := strings.ToLower(path.Ext(name))
	if t, ok := types[ext]; ok {
		return t
	}
	switch path.Base(name) {
	case "README", "LICENSE", "COPYING", "CHANGELOG", "NEWS", "AUTHORS", "Makefile", "Dockerfile", "TODO":
		return "text/plain; charset=utf-8"
	}
	return builtinType(ext)
}

// compressible tells whether what is of this type gets smaller by compression.
func compressible(mediaType string) bool {
	t, _, _ := strings.Cut(mediaType, ";")
	if strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+xml") || strings.HasSuffix(t, "+json") {
		return true
	}
	switch t {
	case "application/json", "application/x-ndjson", "application/xml", "application/yaml", "application/toml",
		"application/wasm", "application/x-tar", "application/vnd.sqlite3", "application/postscript", "application/rtf",
		"image/bmp", "image/vnd.microsoft.icon", "font/ttf", "font/otf", "audio/wav":
		return true
	}
	return false
}
