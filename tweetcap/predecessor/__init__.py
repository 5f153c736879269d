"""What Twitter Image Captioning of 2021 left behind: its network and its tweets, brought over without running them."""
