#include "catalogue/pull.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "catalogue/digest.h"
#include "catalogue/gguf_header.h"
#include "catalogue/hub.h"
#include "catalogue/known_models.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPagesMax = 50;
constexpr std::size_t kPageBytesMax = 32u << 20;
constexpr std::uint64_t kDiskReserve = 256u << 20;  // A full disk hurts more than a missing model.

struct Wanted {
  StoredModel model;
  std::vector<RemoteFile> files;
  bool is_checkpoint = false;  // To be imported, not served as it is.
};

Result<std::vector<HubFile>> hub_files(const PullOptions& options, const std::string& repository) {
  std::vector<HubFile> files;
  std::string url = tree_url(options.endpoint, repository);
  for (std::size_t page = 0; page < kPagesMax && !url.empty(); ++page) {
    auto text = fetch_text(url, options.transfer, kPageBytesMax);
    if (!text) return std::move(text).error();
    auto more = parse_hub_tree(text->body);
    if (!more) return std::move(more).error();
    files.insert(files.end(), more->begin(), more->end());
    url = next_page(text->link.substr(0, 4096));
    if (!url.empty() && !url.starts_with(options.endpoint + "/")) return Error{ErrorCode::corrupt, "the hub's list of files goes on at another host"};
  }
  return files;
}

Result<Wanted> from_hub(const PullOptions& options, const HubReference& reference, const std::string& name) {
  auto files = hub_files(options, reference.repository);
  if (!files) return std::move(files).error();
  auto selection = select_files(*files, reference.quantisation);
  bool is_checkpoint = false;
  if (!selection && reference.quantisation.empty() && std::ranges::none_of(*files, [](const HubFile& file) { return file.path.ends_with(".gguf"); })) {
    selection = HubSelection{checkpoint_files(*files), ""};
    is_checkpoint = true;
    if (selection->files.empty()) return Error{ErrorCode::invalid_argument, fmt::format("{}: it has no GGUF file and no checkpoint (config.json and *.safetensors)", reference.repository)};
  }
  if (!selection) return Error{selection.error().code, fmt::format("{}: {}", reference.repository, selection.error().message)};
  Wanted wanted;
  wanted.is_checkpoint = is_checkpoint;
  const std::string base = reference.repository.substr(reference.repository.find('/') + 1);
  std::string derived = ModelStore::name_from(base);
  for (const char* ending : {"-gguf", "_gguf"}) {
    if (derived.ends_with(ending)) derived.resize(derived.size() - std::string(ending).size());
  }
  if (!selection->quantisation.empty()) derived = ModelStore::name_from(derived + "-" + selection->quantisation);
  wanted.model.name = name.empty() ? derived : name;
  wanted.model.source = fmt::format("hf:{}{}", reference.repository, selection->quantisation.empty() ? "" : ":" + selection->quantisation);
  for (const HubFile& file : selection->files) {
    if (file.name().starts_with('.')) return Error{ErrorCode::corrupt, fmt::format("the hub names a file '{}', which this does not write", file.path)};
    wanted.model.files.push_back({file.name(), file.bytes, file.sha256});
    wanted.files.push_back({file_url(options.endpoint, reference.repository, file.path), file.bytes, file.sha256, file.git_hash});
  }
  return wanted;
}

Result<Wanted> from_address(const PullOptions& options, const std::string& name) {
  std::string path = options.what.substr(0, options.what.find_first_of("?#"));
  std::string file = path.substr(path.rfind('/') + 1);
  if (!file.ends_with(".gguf")) return Error{ErrorCode::invalid_argument, fmt::format("'{}' does not end in .gguf", path)};
  Wanted wanted;
  const std::string stem = ModelStore::name_from(file.substr(0, file.size() - 5));
  wanted.model.name = name.empty() ? stem : name;
  wanted.model.source = path;
  wanted.files.push_back({options.what, std::nullopt, options.sha256, ""});
  const auto bytes = remote_size(wanted.files.front(), options.transfer);
  if (!bytes) return bytes.error();
  wanted.files.front().bytes = *bytes;
  wanted.model.files.push_back({stem + ".gguf", *bytes, options.sha256});
  return wanted;
}

Result<Wanted> find(const PullOptions& options) {
  if (!options.name.empty() && !ModelStore::valid_name(options.name)) {
    return Error{ErrorCode::invalid_argument, fmt::format("--name: '{}' cannot be a model's name: lower-case letters, digits, '.', '_' and '-'", options.name)};
  }
  if (!options.sha256.empty() && (options.sha256.size() != 64 || !std::ranges::all_of(options.sha256, [](unsigned char c) { return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f'); }))) {
    return Error{ErrorCode::invalid_argument, "--sha256: 64 hexadecimal digits in lower case are expected"};
  }
  if (options.what.starts_with("http://") || options.what.starts_with("https://")) return from_address(options, options.name);
  if (const KnownModel* known = find_known_model(options.what)) {
    auto wanted = from_hub(options, {known->repository, known->quantisation}, options.name.empty() ? known->name : options.name);
    if (wanted) wanted->model.licence = known->licence;
    return wanted;
  }
  if (!options.what.starts_with("hf:") && options.what.find('/') == std::string::npos) {
    return Error{ErrorCode::not_found, fmt::format("'{}' is no known name ('pensieve pull' lists them), no hf:OWNER/REPO and no address", options.what)};
  }
  auto reference = parse_hub_reference(options.what);
  if (!reference) return std::move(reference).error();
  return from_hub(options, *reference, options.name);
}

Result<void> check_room(const fs::path& folder, const Wanted& wanted) {
  std::uint64_t missing = 0;
  for (const StoredFile& file : wanted.model.files) {
    std::error_code error;
    const std::string path = (folder / file.name).string();
    if (fs::exists(path, error)) continue;
    missing += file.bytes - std::min(file.bytes, resumed_bytes(path + ".part"));
  }
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= missing + kDiskReserve) return {};
  return Error{ErrorCode::too_large, fmt::format("'{}' has {:.2f} GB free, the model needs {:.2f} GB more and {:.2f} GB are left alone", folder.string(),
                                                 static_cast<double>(space.available) / 1e9, static_cast<double>(missing) / 1e9, static_cast<double>(kDiskReserve) / 1e9)};
}

// An earlier try, interrupted later, may have brought this file; since then the hub may have another.
bool is_whole(const std::string& path, const StoredFile& file) {
  std::error_code error;
  if (fs::file_size(path, error) != file.bytes || error || file.sha256.empty()) return false;
  const auto found = digest_of_file(path, DigestKind::sha256);
  return found && *found == file.sha256;
}

// One pull of a model at a time. The lock goes with the process.
class Lock {
 public:
  explicit Lock(const fs::path& path) : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {}
  ~Lock() {
    if (file_ >= 0) ::close(file_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool taken() const { return file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) == 0; }

 private:
  const int file_;
};

// Brings what is missing of them. Did every file have a promised hash?
Result<bool> load_files(const Wanted& wanted, const fs::path& folder, const PullOptions& options, const std::function<void(const PullProgress&)>& on_progress) {
  bool checked = true;
  for (std::size_t i = 0; i < wanted.files.size(); ++i) {
    const RemoteFile& file = wanted.files[i];
    const StoredFile& stored = wanted.model.files[i];
    const std::string path = (folder / stored.name).string();
    checked = checked && !(file.sha256.empty() && file.git_hash.empty());
    std::error_code error;
    if (is_whole(path, stored)) continue;
    fs::remove(path, error);
    const auto told = [&](const TransferProgress& progress) { on_progress({stored.name, i + 1, wanted.files.size(), progress}); };
    if (const auto loaded = download(file, path + ".part", options.transfer, told); !loaded) return loaded.error();
    if (!wanted.is_checkpoint) {
      if (const auto header = read_gguf_header(path + ".part"); !header) {
        fs::remove(path + ".part", error);
        return Error{ErrorCode::corrupt, fmt::format("what came was thrown away: {}", header.error().message)};
      }
    }
    fs::rename(path + ".part", path, error);
    if (error) return Error{ErrorCode::internal, fmt::format("'{}': {}", path, error.message())};
  }
  return checked;
}

}  // namespace

Result<Pulled> pull_model(ModelStore& store, const PullOptions& options, const std::function<void(const PullProgress&)>& on_progress, const ImportFolder& import) {
  auto wanted = find(options);
  if (!wanted) return std::move(wanted).error();
  StoredModel& model = wanted->model;
  for (const StoredModel& there : store.list()) {
    if (there.name != model.name) continue;
    const auto same = [](const StoredFile& a, const StoredFile& b) { return a.name == b.name && a.bytes == b.bytes && a.sha256 == b.sha256; };
    if (there.source == model.source && (wanted->is_checkpoint || std::ranges::equal(there.files, model.files, same))) return Pulled{there, true, true};
    return Error{ErrorCode::invalid_argument, fmt::format("there is another model '{0}' already: 'pensieve rm {0}' first, or give --name", model.name)};
  }
  if (wanted->is_checkpoint && !import) return Error{ErrorCode::invalid_argument, fmt::format("{} is a checkpoint, which has to be imported", model.source)};
  const auto folder = store.staging(model.name + (wanted->is_checkpoint ? ".checkpoint" : ""));
  if (!folder) return folder.error();
  const Lock lock(store.root() / ".partial" / (model.name + ".lock"));
  if (!lock.taken()) return Error{ErrorCode::unavailable, fmt::format("another pull of '{}' is running", model.name)};
  if (const auto room = check_room(*folder, *wanted); !room) return room.error();

  const auto checked = load_files(*wanted, *folder, options, on_progress);
  if (!checked) return checked.error();
  if (wanted->is_checkpoint) {
    auto imported = import(folder->string(), model.name, model.source);
    if (!imported) return std::move(imported).error();
    std::error_code ignored;
    fs::remove_all(*folder, ignored);
    return Pulled{*std::move(imported), false, *checked};
  }
  auto published = store.publish(std::move(model));
  if (!published) return std::move(published).error();
  return Pulled{*std::move(published), false, *checked};
}

}  // namespace pensieve
