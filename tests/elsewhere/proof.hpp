// A PNG in base64, behind a key of the description -> its pixels: red, green, blue. Your own images need no such thing.
#include <png.h>
#include <string>
#include <vector>

inline std::vector<png_byte> read_png(const std::string& said, const std::string& key, png_image& png) {
    std::vector<png_byte> file, pixels;
    size_t at = said.find("\"" + key + "\": \"") + key.size() + 5, bits = 0, count = 0;
    for (int c; (c = said[at]) != '"' && c != '='; at++) {
        bits = bits << 6 | (c == '+' ? 62 : c == '/' ? 63 : c <= '9' ? c + 4 : c <= 'Z' ? c - 65 : c - 71);
        if ((count += 6) >= 8) file.push_back(bits >> (count -= 8));
    }
    png = {nullptr, PNG_IMAGE_VERSION};
    png_image_begin_read_from_memory(&png, file.data(), file.size());
    png.format = PNG_FORMAT_RGB;
    pixels.resize(PNG_IMAGE_SIZE(png));
    png_image_finish_read(&png, nullptr, pixels.data(), 0, nullptr);
    return pixels;
}
