"""The page's colours and layout: gradio's variables where it has them, a style sheet for the rest."""

from pathlib import Path

import gradio as gr

FONT = ("system-ui", "-apple-system", "Hiragino Sans", "Noto Sans JP", "sans-serif")

THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.orange,
    neutral_hue=gr.themes.colors.stone,
    radius_size=gr.themes.sizes.radius_lg,
    font=FONT,
    font_mono=("ui-monospace", "monospace"),
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    color_accent="*primary_700",
    slider_color="*primary_700",
    slider_color_dark="*primary_500",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
    button_primary_text_color="white",
    button_secondary_background_fill="*neutral_100",
    button_secondary_background_fill_hover="*neutral_200",
    button_secondary_background_fill_dark="*neutral_800",
    button_secondary_background_fill_hover_dark="*neutral_700",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    checkbox_label_text_color_selected="white",
    checkbox_label_text_color_selected_dark="white",
)

CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
# gradio's margins take a quarter of a phone's width. In the head, since launch's css reaches components only.
# Nor does it show its link to the API there, only the dot beside it.
HEAD = """<style>@media (max-width: 640px) {
    .gradio-container .main.app { padding: 8px 8px; }
    footer .divider { display: none; }
}</style>"""
