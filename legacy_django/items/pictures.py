"""Uploaded pictures: only what Pillow reads as one of three formats, of a bounded size, under a name of our own.

A file's name and its declared type come from the client; neither is kept.
"""

from __future__ import annotations

import secrets
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from legacy_django.items.models import Item, Picture

MAX_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 25_000_000
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


class PictureForm(forms.Form):
    picture = forms.ImageField()

    def clean_picture(self) -> UploadedFile[bytes]:
        # ImageField has let Pillow open and verify it, and left what it found in `image`.
        file: Any = self.cleaned_data["picture"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(f"Larger than {MAX_BYTES // 1024**2} MB.")
        if file.image.format not in SUFFIXES:
            raise forms.ValidationError("Only JPEG, PNG and WebP pictures.")
        if file.image.width * file.image.height > MAX_PIXELS:
            raise forms.ValidationError(f"More than {MAX_PIXELS // 1_000_000} million pixels.")
        checked: UploadedFile[bytes] = file
        return checked

    def save_to(self, item: Item) -> Picture:
        file = self.cleaned_data["picture"]
        file.name = f"{item.pk}-{secrets.token_hex(8)}.{SUFFIXES[file.image.format]}"
        return Picture.objects.create(item=item, file=file)
